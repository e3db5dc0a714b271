"""SQL of copies: a thread copied into a reviewer's own threads, with a link to the original.

Steps and elements get new ids. Files are not copied: both rows name the same file, which is deleted with the last row
that names it, so original and copy can be deleted in any order. Votes and favourites are not copied.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.errors import Forbidden, NotFound
from datalayer.history.answers import ANSWER, is_whole
from datalayer.records.review import CopiedAnswer, ThreadOrigin
from datalayer.review.questions import question_before
from datalayer.schema.chat import elements, steps, threads
from datalayer.schema.review import thread_origins

_AT_ONCE = 500
_LATEST = 20
_EXCERPT = 100
# Metadata that belongs to the original's owner.
_NOT_COPIED = {"is_shared", "shared_at"}


async def take_over(
    connection: AsyncConnection, thread_id: str, step_id: str | None, reviewer: tuple[str, str], title_ending: str
) -> ThreadOrigin:
    """Copy the thread for the reviewer (id and identifier), and append the ending to its title.

    Raises:
        NotFound: there is no such thread, or no such answer in it.
    """
    # Locked, so that its files are not deleted before the copy's rows name them.
    held = select(threads).where(threads.c.id == thread_id).with_for_update(read=True, key_share=True)
    original = (await connection.execute(held)).mappings().first()
    if original is None:
        raise NotFound("there is no such thread")
    found = (await connection.execute(select(steps).where(steps.c.threadId == thread_id))).mappings().all()
    new_ids: dict[str, str] = {row["id"]: str(uuid.uuid4()) for row in found}
    if step_id is not None and step_id not in new_ids:
        raise NotFound("there is no such answer")
    copy_id, now = str(uuid.uuid4()), utc_now()
    owner = {"userId": reviewer[0], "userIdentifier": reviewer[1]}
    metadata = {key: value for key, value in (original["metadata"] or {}).items() if key not in _NOT_COPIED}
    title = original["name"]
    if title and not title.endswith(title_ending):
        title += title_ending
    about = {"name": title, "createdAt": now, "updatedAt": now, "metadata": metadata, **owner}
    await connection.execute(insert(threads).values(**{**original, "id": copy_id, **about}))
    copied = [_step(row, new_ids, copy_id) for row in found]
    for at in range(0, len(copied), _AT_ONCE):
        await connection.execute(insert(steps), copied[at : at + _AT_ONCE])
    await _copy_elements(connection, thread_id, copy_id, new_ids)
    origin = {
        "threadId": copy_id,
        "originalId": thread_id,
        "originalStepId": step_id,
        "reviewerId": reviewer[0],
        "createdAt": now,
    }
    await connection.execute(insert(thread_origins).values(**origin))
    return ThreadOrigin(copy_id, thread_id, step_id, reviewer[1], now)


async def link(
    connection: AsyncConnection, copy_id: str, better_step_id: str, original_step_id: str | None, reviewer_id: str
) -> None:
    """Store which answer in the copy is the better one, and which answer in the original it improves.

    Raises:
        NotFound: there is no such copy, or an answer is not in its thread.
        Forbidden: the copy belongs to another reviewer.
    """
    of_copy = select(thread_origins).where(thread_origins.c.threadId == copy_id)
    origin = (await connection.execute(of_copy)).first()
    if origin is None:
        raise NotFound("there is no such copy")
    if origin.reviewerId != reviewer_id:
        raise Forbidden("the copy belongs to another reviewer")
    values = {"betterStepId": better_step_id, "linkedAt": utc_now()}
    wanted = [(better_step_id, copy_id)]
    if original_step_id is not None:
        values["originalStepId"] = original_step_id
        wanted.append((original_step_id, origin.originalId))
    for step_id, thread_id in wanted:
        there = steps.c.id == step_id, steps.c.threadId == thread_id, steps.c.type == ANSWER
        if (await connection.execute(select(steps.c.id).where(*there))).first() is None:
            raise NotFound("there is no such answer")
    await connection.execute(update(thread_origins).where(thread_origins.c.threadId == copy_id).values(**values))


async def latest_answers(
    connection: AsyncConnection, copy_ids: Collection[str], reviewer_id: str | None
) -> list[CopiedAnswer]:
    """The beginnings of the latest answers in each of the reviewer's own copies, latest first."""
    own = select(thread_origins.c.threadId).where(
        thread_origins.c.threadId.in_(copy_ids), thread_origins.c.reviewerId == reviewer_id
    )
    order = steps.c.createdAt.desc(), steps.c.id.desc()
    place = func.row_number().over(partition_by=steps.c.threadId, order_by=order).label("place")
    # Ids first, so that only the texts that are shown are read.
    placed = (
        select(steps.c.id, place)
        .where(steps.c.threadId.in_(own), steps.c.type == ANSWER, steps.c.output != "")
        .subquery()
    )
    statement = (
        select(steps.c.id, steps.c.threadId, func.substr(steps.c.output, 1, _EXCERPT))
        .join(placed, placed.c.id == steps.c.id)
        .where(placed.c.place <= _LATEST)
        .order_by(*order)
    )
    return [CopiedAnswer(*row) for row in await connection.execute(statement)]


@dataclass(frozen=True, slots=True)
class BetterRun:
    """A better answer from a copy, the question that it answers, and when it was linked."""

    answer: str
    question: str | None
    linked_at: str


async def better_runs(connection: AsyncConnection, thread_id: str) -> dict[str, list[BetterRun]]:
    """The better answers linked in a thread's copies, by the answer that they improve, without failed ones."""
    origin = thread_origins.c
    statement = (
        select(
            *(origin.originalStepId, origin.linkedAt, question_before(steps).label("question")),
            *(steps.c.output, steps.c.isError, steps.c.metadata),
        )
        .join(steps, steps.c.id == origin.betterStepId)
        .where(origin.originalId == thread_id, origin.originalStepId.is_not(None), steps.c.output != "")
        .order_by(origin.linkedAt)
    )
    found: dict[str, list[BetterRun]] = defaultdict(list)
    for row in (await connection.execute(statement)).mappings():
        if is_whole(row):
            found[row["originalStepId"]].append(BetterRun(row["output"], row["question"], row["linkedAt"] or ""))
    return found


async def _copy_elements(connection: AsyncConnection, thread_id: str, copy_id: str, new_ids: Mapping[str, str]) -> None:
    of_steps = elements.c.forId.in_(select(steps.c.id).where(steps.c.threadId == thread_id))
    theirs = or_(elements.c.threadId == thread_id, and_(elements.c.threadId.is_(None), of_steps))
    # Locked, too: the deletion of an element waits, and then finds that the copy names the file.
    held = select(elements).where(theirs).with_for_update(read=True, key_share=True)
    rows = (await connection.execute(held)).mappings().all()
    for at in range(0, len(rows), _AT_ONCE):
        copied = [
            {**row, "id": str(uuid.uuid4()), "threadId": copy_id, "forId": new_ids.get(row["forId"])}
            for row in rows[at : at + _AT_ONCE]
        ]
        await connection.execute(insert(elements), copied)


def _step(row: Mapping[Any, Any], new_ids: Mapping[str, str], copy_id: str) -> dict[str, Any]:
    metadata = {key: value for key, value in (row["metadata"] or {}).items() if key != "favorite"}
    parent = new_ids.get(row["parentId"])
    return {**row, "id": new_ids[row["id"]], "threadId": copy_id, "parentId": parent, "metadata": metadata}
