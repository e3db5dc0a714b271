"""SQL of copies: a thread copied into a reviewer's own threads, with a link to the original."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.errors import Forbidden, NotFound
from datalayer.history.answers import ANSWER, is_whole
from datalayer.history.copying import copy_thread
from datalayer.history.speech import speech_at_start, start_of_answer
from datalayer.records.review import CopiedAnswer, ThreadOrigin
from datalayer.review.questions import question_before
from datalayer.schema.chat import steps
from datalayer.schema.review import thread_origins

_LATEST = 20
_EXCERPT = 100


async def take_over(
    connection: AsyncConnection,
    thread_id: str,
    step_id: str | None,
    reviewer: tuple[str, str],
    title_ending: str,
    *,
    copy_id: str,
) -> ThreadOrigin:
    """Copy the thread for the reviewer (id and identifier) under the given id, and append the ending to its title.

    Raises:
        NotFound: there is no such thread, or no such answer in it.
    """
    copy = await copy_thread(connection, thread_id, reviewer, title_ending=title_ending, copy_id=copy_id)
    if step_id is not None and step_id not in copy.new_ids:
        raise NotFound(f"the thread {thread_id} has no answer {step_id}")
    origin = {
        "threadId": copy.thread_id,
        "originalId": thread_id,
        "originalStepId": step_id,
        "reviewerId": reviewer[0],
        "createdAt": copy.created_at,
    }
    await connection.execute(insert(thread_origins).values(**origin))
    return ThreadOrigin(copy.thread_id, thread_id, step_id, reviewer[1], copy.created_at)


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
        raise NotFound(f"the thread {copy_id} is not a copy of a reviewer, or does not exist")
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
            raise NotFound(f"the thread {thread_id} has no answer {step_id}")
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
        select(steps.c.id, steps.c.threadId, start_of_answer(steps.c.output, _EXCERPT))
        .join(placed, placed.c.id == steps.c.id)
        .where(placed.c.place <= _LATEST)
        .order_by(*order)
    )
    rows = await connection.execute(statement)
    return [
        CopiedAnswer(step_id, thread_id, speech_at_start(start, _EXCERPT) or "") for step_id, thread_id, start in rows
    ]


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
