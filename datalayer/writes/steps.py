"""Stores many step writes in one transaction: the newest state of each step; each is refused or stored on its own."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from datalayer.database import Database, within
from datalayer.errors import DataLayerError, Forbidden, NotFound
from datalayer.history import deletion_marks, threads
from datalayer.records.chat import Step
from datalayer.records.writes import StepWrite
from datalayer.schema.chat import steps
from datalayer.schema.rows import newest_extra

_FIELDS = tuple(item.name for item in fields(Step) if item.name != "extra")


async def write(database: Database, writes: Sequence[StepWrite]) -> list[DataLayerError | None]:
    """Store the writes in order; gives for each the error that refused it, or None. A write to a thread that was
    deleted is dropped, which is no error.

    Raises:
        DataLayerError: nothing was stored, because of one of the writes or of the database.
    """
    if not writes:
        return []
    fewest = coalesced(writes)
    with database.translated():
        kept = await database.dialect.hot_paths.write_steps(fewest)
        changed = {one.step.id for one in writes if one.key in kept}
    return [
        None if one.key in kept else await _refusal(database, one, once_more=one.step.id not in changed)
        for one in writes
    ]


async def _refusal(database: Database, one: StepWrite, *, once_more: bool) -> DataLayerError | None:
    thread_id = one.step.thread_id or ""
    exists, _ = await database.query(lambda connection: threads.owner(connection, thread_id))
    if not exists:
        if await database.query(lambda connection: deletion_marks.drops(within(connection), thread_id)):
            return None
        # Only the creation of a step creates its thread.
        return NotFound("the thread does not exist")
    if once_more:
        # Another replica may have created the thread since the write looked for it.
        with database.translated():
            if await database.dialect.hot_paths.write_steps([one]):
                return None
    return Forbidden("the thread, or a step with this id, belongs to someone else")


def coalesced(writes: Sequence[StepWrite]) -> list[StepWrite]:
    """Merge consecutive updates of the same step into one.

    A creation is not merged, because only the database knows whether it arrives late.
    """
    if len(writes) == 1:
        return list(writes)
    fewest: list[StepWrite] = []
    last: dict[str, int] = {}
    for one in writes:
        at = last.get(one.step.id)
        if at is not None and fewest[at].key == one.key and not one.created and not fewest[at].created:
            fewest[at] = replace(one, step=_over(fewest[at].step, one.step), moment=one.moment)
        else:
            last[one.step.id] = len(fewest)
            fewest.append(one)
    return fewest


def _over(older: Step, newer: Step) -> Step:
    """The newer state, with the older values of fields that it does not give."""
    values: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(newer, name)
        values[name] = getattr(older, name) if value is None else value
    # If a key fits its column in one state and not in the other, its last value counts.
    merged = {**(older.extra or {}), **newest_extra(newer, steps)}
    return Step(**values, extra={key: value for key, value in merged.items() if value is not None} or None)
