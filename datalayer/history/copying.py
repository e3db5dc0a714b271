"""SQL of copies: a thread copied into another user's own threads.

Steps and elements get new ids. Files are not copied: both rows name the same file, which is deleted with the last row
that names it, so original and copy can be deleted in any order. Votes and favourites are not copied.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, and_, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.errors import Forbidden, NotFound
from datalayer.records.chat import is_shared
from datalayer.schema.chat import elements, steps, threads
from datalayer.schema.review import thread_origins

_AT_ONCE = 500
TEMPORARY_NOTICE = "threadkeeper:temporary_notice"
"""The key in the metadata of a notice that says that the thread is temporary, which a copy is not."""
# The metadata by which such a notice was known before.
_EARLIER_NOTICE = {"status": "notice", "temporary": True}
# Metadata that belongs to the original's owner.
NOT_COPIED = {"is_shared", "shared_at"}


@dataclass(frozen=True, slots=True)
class ThreadCopy:
    """A new copy, and the ids of its steps by those of the original."""

    thread_id: str
    created_at: str
    new_ids: Mapping[str, str]


async def copy_thread(
    connection: AsyncConnection,
    thread_id: str,
    owner: tuple[str, str],
    *,
    copy_id: str,
    title_ending: str = "",
    shown_metadata: Collection[str] | None = None,
    until: str | None = None,
) -> ThreadCopy:
    """Copy the thread for a user (id and identifier).

    Args:
        copy_id: the id of the copy. Made before the queue gets the work, it tells whether a repeated copy is there.
        title_ending: appended to the title, unless the title ends with it already.
        shown_metadata: the keys of the steps' metadata that the user may see. The copy then gets no other metadata, and
            neither the tags nor the settings of the thread. None copies everything but the sharing.
        until: the id of a step: later steps, and their elements, are left out.

    Raises:
        NotFound: there is no such thread, or no such step in it.
    """
    # Locked, so that its files are not deleted before the copy's rows name them.
    held = select(threads).where(threads.c.id == thread_id).with_for_update(read=True, key_share=True)
    original = (await connection.execute(held)).mappings().first()
    if original is None:
        raise NotFound(f"the thread {thread_id} does not exist")
    of_thread = (await connection.execute(select(steps).where(steps.c.threadId == thread_id))).mappings().all()
    found = [row for row in of_thread if not _is_temporary_notice(row["metadata"] or {})]
    if until is not None:
        found = _until(found, until)
    # Steps of the same time are in the order of their ids.
    found = sorted(found, key=_place)
    new_ids = dict(zip((row["id"] for row in found), sorted(str(uuid.uuid4()) for _ in found), strict=True))
    now = utc_now()
    title, metadata = original["name"], original["metadata"] or {}
    if title and not title.endswith(title_ending):
        title += title_ending
    about: dict[str, Any] = {
        **{"id": copy_id, "name": title, "createdAt": now, "updatedAt": now},
        **{"userId": owner[0], "userIdentifier": owner[1]},
        **{"pinnedAt": None, "archivedAt": None, "expiresAt": None, "votedUp": False, "votedDown": False},
        "metadata": {key: value for key, value in metadata.items() if key not in NOT_COPIED},
    }
    if shown_metadata is not None:
        about |= {"metadata": {}, "tags": None}
    await connection.execute(insert(threads).values(**{**original, **about}))
    copied = [_step(row, new_ids, copy_id, shown_metadata) for row in found]
    for at in range(0, len(copied), _AT_ONCE):
        await connection.execute(insert(steps), copied[at : at + _AT_ONCE])
    await _copy_elements(connection, thread_id, copy_id, new_ids, all_of_them=until is None)
    return ThreadCopy(copy_id, now, new_ids)


async def demand_shareable(connection: AsyncConnection, thread_id: str, metadata: Mapping[str, Any] | None) -> None:
    """Require that the metadata do not share a reviewer's copy of another user's thread.

    Raises:
        Forbidden: they do.
    """
    copied = select(thread_origins.c.threadId).where(thread_origins.c.threadId == thread_id)
    if is_shared(metadata) and (await connection.execute(copied)).first() is not None:
        raise Forbidden("a copy of another user's thread cannot be shared")


def _is_temporary_notice(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get(TEMPORARY_NOTICE)) or _EARLIER_NOTICE.items() <= metadata.items()


def _until(found: Sequence[RowMapping], step_id: str) -> list[RowMapping]:
    last = next((row for row in found if row["id"] == step_id), None)
    if last is None:
        raise NotFound(f"there is no message {step_id} in the thread")
    # The run of an answer ends after it, but began before.
    return [row for row in found if _place(row) <= _place(last)]


def _place(row: RowMapping) -> tuple[str, str]:
    """Where the step is in its thread."""
    return row["createdAt"] or "", row["id"]


async def _copy_elements(
    connection: AsyncConnection, thread_id: str, copy_id: str, new_ids: Mapping[str, str], *, all_of_them: bool
) -> None:
    of_steps = elements.c.forId.in_(select(steps.c.id).where(steps.c.threadId == thread_id))
    theirs = or_(elements.c.threadId == thread_id, and_(elements.c.threadId.is_(None), of_steps))
    # Locked, too: the deletion of an element waits, and then finds that the copy names the file.
    held = select(elements).where(theirs).with_for_update(read=True, key_share=True)
    rows = [
        row
        for row in (await connection.execute(held)).mappings()
        if all_of_them or row["forId"] is None or row["forId"] in new_ids
    ]
    for at in range(0, len(rows), _AT_ONCE):
        copied = [
            {**row, "id": str(uuid.uuid4()), "threadId": copy_id, "forId": new_ids.get(row["forId"])}
            for row in rows[at : at + _AT_ONCE]
        ]
        await connection.execute(insert(elements), copied)


def _step(
    row: Mapping[Any, Any], new_ids: Mapping[str, str], copy_id: str, shown: Collection[str] | None
) -> dict[str, Any]:
    metadata = {key: value for key, value in (row["metadata"] or {}).items() if key != "favorite"}
    parent = new_ids.get(row["parentId"])
    copied = {**row, "id": new_ids[row["id"]], "threadId": copy_id, "parentId": parent, "metadata": metadata}
    if shown is None:
        return copied
    return {**copied, "metadata": {key: value for key, value in metadata.items() if key in shown}, "generation": None}
