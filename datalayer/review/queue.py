"""SQL of the review queue.

An item that a reviewer takes is locked for them until a time; after it, other reviewers can take the item. An assigned
item is given to its assignee only, and ends the locks of others. The sample is drawn by digits of the answers' ids,
which are random: it is the same each time, and a larger sample contains each smaller one.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in, utc_now
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord
from datalayer.records.review import ItemReason, ReviewerProgress, ReviewItem, Sampled
from datalayer.review.questions import question_before
from datalayer.schema.chat import Identifier, threads, users
from datalayer.schema.review import IS_OPEN, answers, review_items, verdicts

MOST_WANTED = 20
MOST_AT_ONCE = 1_000
EXCERPT = 100
"""How many characters of a question a list of items shows."""
# The order in which unassigned items are given: those added by hand first, sampled ones last.
_REASONS: tuple[ItemReason, ...] = ("chosen", "thumbs_down", "sample")
_PARTS = 16**4


async def fill(
    connection: AsyncConnection,
    dialect: Dialect,
    *,
    percent: float,
    since: str | None,
    until: str | None,
    wanted: int,
) -> Sampled:
    """Add up to a thousand unreviewed answers: those with a thumb down first, then the sample of the others.

    Adds nothing once all are in the queue. One call adds a part, because other writes wait meanwhile.

    Raises:
        InvalidRecord: the percentage is not from 0 to 100, or `wanted` is out of bounds.
    """
    if not 0 <= percent <= 100:
        raise InvalidRecord(f"a sample of {percent:g} percent is not valid: give 0 to 100")
    within = [answers.c.verdicts == 0]
    if since is not None:
        within.append(answers.c.createdAt >= since)
    if until is not None:
        within.append(answers.c.createdAt < until)
    down = await _put_in(connection, dialect, and_(answers.c.thumb == 0, *within), "thumbs_down", wanted)
    sample = 0
    if not down and (parts := round(_PARTS * percent / 100)) > 0:
        # The last digits, because the first ones of some ids are a time and not random.
        drawn = [] if parts == _PARTS else [func.substr(cast(answers.c.stepId, Text), 33, 4) < f"{parts:04x}"]
        others = or_(answers.c.thumb.is_(None), answers.c.thumb != 0)
        sample = await _put_in(connection, dialect, and_(others, *within, *drawn), "sample", wanted)
    return Sampled(down, sample)


async def enqueue(
    connection: AsyncConnection,
    dialect: Dialect,
    step_ids: Collection[str],
    *,
    reviewer_id: str | None,
    wanted: int,
    reason: ItemReason,
) -> int:
    """Add these answers and assign them; returns how many. Reviewers other than the assignee lose their locks."""
    chosen = answers.c.stepId.in_(list(step_ids))
    await _put_in(connection, dialect, chosen, reason, wanted)
    changes: dict[str, Any] = {"assignedTo": reviewer_id}
    if reviewer_id is not None:
        for name in ("lockedBy", "lockedUntil"):
            changes[name] = case((review_items.c.lockedBy == reviewer_id, review_items.c[name]), else_=null())
    changed = update(review_items).where(review_items.c.stepId.in_(list(step_ids)))
    return int((await connection.execute(changed.values(**changes))).rowcount)


async def take_next(
    connection: AsyncConnection, reviewer_id: str, *, lock_seconds: float, other_than: Collection[str]
) -> ReviewItem | None:
    """The item that the reviewer holds, or the next that they may take, locked for them; None if none is left."""
    now = utc_now()
    free = or_(review_items.c.lockedBy.is_(None), review_items.c.lockedUntil <= now)
    judged = select(verdicts.c.id).where(
        verdicts.c.stepId == review_items.c.stepId, verdicts.c.reviewerId == reviewer_id
    )
    own = select(threads.c.id).where(threads.c.id == review_items.c.threadId, threads.c.userId == reviewer_id)
    theirs = [IS_OPEN, not_(judged.exists()), review_items.c.stepId.not_in(list(other_than))]
    order = [review_items.c.createdAt, review_items.c.stepId]
    nobody_elses = or_(review_items.c.assignedTo.is_(None), review_items.c.assignedTo == reviewer_id)
    open_now = review_items.c.lockedBy == reviewer_id, review_items.c.lockedUntil > now, nobody_elses
    candidates = [
        select(review_items.c.stepId).where(*theirs, *open_now),
        select(review_items.c.stepId).where(*theirs, free, review_items.c.assignedTo == reviewer_id),
    ]
    for reason in _REASONS:
        anyones = free, review_items.c.assignedTo.is_(None), review_items.c.reason == reason, not_(own.exists())
        candidates.append(select(review_items.c.stepId).where(*theirs, *anyones))
    for candidate in candidates:
        # A row that another transaction has locked is skipped, so that no reviewer waits for another.
        first = candidate.order_by(*order).limit(1).with_for_update(skip_locked=True, of=review_items)
        step_id = (await connection.execute(first)).scalar()
        if step_id is not None:
            await _lock(connection, review_items.c.stepId == step_id, reviewer_id, lock_seconds)
            rows = (await connection.execute(_listed(review_items.c.stepId == step_id))).all()
            return _item(rows[0])
    return None


async def keep(connection: AsyncConnection, step_id: str, reviewer_id: str, lock_seconds: float) -> bool:
    """Extend the reviewer's lock on an item; False if they no longer hold it."""
    now = utc_now()
    held = review_items.c.stepId == step_id, review_items.c.lockedBy == reviewer_id, review_items.c.lockedUntil > now
    return await _lock(connection, and_(*held), reviewer_id, lock_seconds)


async def release(connection: AsyncConnection, step_id: str, reviewer_id: str | None) -> bool:
    """Unlock an item that the reviewer holds, or any item if no reviewer is given; False if it was not locked."""
    held = [review_items.c.stepId == step_id, review_items.c.lockedBy.is_not(None)]
    if reviewer_id is not None:
        held.append(review_items.c.lockedBy == reviewer_id)
    statement = update(review_items).where(*held).values(lockedBy=None, lockedUntil=None)
    return bool((await connection.execute(statement)).rowcount)


async def listed(
    connection: AsyncConnection,
    reviewer_id: str | None,
    *,
    is_done: bool,
    limit: int,
    thread_id: str | None,
    excerpts: bool,
    after: tuple[int, str, str] | None = None,
) -> list[ReviewItem]:
    """Open items, the reviewer's locked ones first, then by age; or finished items, the latest first.

    `after`: of open items, only those behind this one: 0 if it is locked by the reviewer, else 1; its time; its answer.
    """
    within = [] if thread_id is None else [review_items.c.threadId == thread_id]
    if is_done:
        finished = _listed(and_(not_(IS_OPEN), *within))
        statement = finished.order_by(review_items.c.doneAt.desc(), review_items.c.stepId).limit(limit)
    else:
        statement = _open(reviewer_id, within, limit=limit, after=after)
    rows = (await connection.execute(statement)).all()
    questions = await _questions(connection, [row.stepId for row in rows]) if excerpts and rows else {}
    return [_item(row, questions.get(row.stepId)) for row in rows]


async def progress(connection: AsyncConnection, since: str | None) -> list[ReviewerProgress]:
    """Counts for each reviewer with verdicts or items, and for items assigned to nobody."""
    now = utc_now()
    after = [] if since is None else [verdicts.c.updatedAt >= since]
    given = select(verdicts.c.reviewerId, func.count()).where(*after).group_by(verdicts.c.reviewerId)
    done = (
        select(verdicts.c.reviewerId, func.count())
        .join(review_items, review_items.c.stepId == verdicts.c.stepId)
        .where(not_(IS_OPEN), *after)
        .group_by(verdicts.c.reviewerId)
    )
    open_ = select(review_items.c.assignedTo, func.count()).where(IS_OPEN).group_by(review_items.c.assignedTo)
    held = IS_OPEN, review_items.c.lockedUntil > now
    locked = select(review_items.c.lockedBy, func.count()).where(*held).group_by(review_items.c.lockedBy)
    counts = [{row[0]: row[1] for row in await connection.execute(one)} for one in (done, open_, locked, given)]
    ids = {one for count in counts for one in count}
    named = select(users.c.id, users.c.identifier).where(users.c.id.in_([one for one in ids if one is not None]))
    names: dict[str | None, str | None] = {row[0]: row[1] for row in await connection.execute(named)}
    found = [ReviewerProgress(names.get(one), *(count.get(one, 0) for count in counts)) for one in ids]
    return sorted(found, key=lambda one: (one.reviewer is None, one.reviewer or ""))


async def _put_in(
    connection: AsyncConnection, dialect: Dialect, condition: ColumnElement[bool], reason: ItemReason, wanted: int
) -> int:
    if not 1 <= wanted <= MOST_WANTED:
        raise InvalidRecord(f"{wanted} reviewers per answer is not valid: give 1 to {MOST_WANTED}")
    values = answers.c.stepId, answers.c.threadId, literal(reason), literal(utc_now()), literal(wanted)
    names = ["stepId", "threadId", "reason", "createdAt", "wanted"]
    there = select(review_items.c.stepId).where(review_items.c.stepId == answers.c.stepId).exists()
    some = select(*values).where(condition, not_(there)).limit(MOST_AT_ONCE)
    statement = dialect.insert(review_items).from_select(names, some)
    return int((await connection.execute(statement.on_conflict_do_nothing())).rowcount)


async def _lock(
    connection: AsyncConnection, condition: ColumnElement[bool], reviewer_id: str, lock_seconds: float
) -> bool:
    locked = update(review_items).where(condition).values(lockedBy=reviewer_id, lockedUntil=utc_in(lock_seconds))
    return bool((await connection.execute(locked)).rowcount)


def _open(
    reviewer_id: str | None,
    within: Collection[ColumnElement[bool]],
    *,
    limit: int,
    after: tuple[int, str, str] | None,
) -> Select[Any]:
    """Open items, those that the reviewer holds first, so that they find them in a queue longer than the limit.

    Those of each reason are read in their order, up to the limit, so that the length of the queue does not matter.
    """
    held = None if reviewer_id is None else review_items.c.lockedBy == reviewer_id
    others = [] if held is None else [or_(review_items.c.lockedBy.is_(None), review_items.c.lockedBy != reviewer_id)]
    places: list[tuple[int, list[ColumnElement[bool]]]] = [] if held is None else [(0, [held])]
    places += [(1, [review_items.c.reason == literal_column(f"'{reason}'", Text), *others]) for reason in _REASONS]
    behind: list[ColumnElement[bool]] = []
    if after is not None:
        first, created_at, step_id = after
        place = tuple_(review_items.c.createdAt, review_items.c.stepId)
        behind = [place > tuple_(literal(created_at, Text), literal(step_id, Identifier))]
        places = [(number, [*some, *(behind if number == first else ())]) for number, some in places if number >= first]
    in_order = (review_items.c.createdAt, review_items.c.stepId)
    parts = [
        select(literal_column(str(number), Integer).label("place"), *in_order)
        .where(IS_OPEN, *within, *some)
        .order_by(*in_order)
        .limit(limit)
        .subquery()
        for number, some in places
    ]
    all_parts = union_all(*(select(part) for part in parts)).subquery()
    order = (all_parts.c.place, all_parts.c.createdAt, all_parts.c.stepId)
    chosen = select(all_parts).order_by(*order).limit(limit).subquery("chosen")
    listed = _listed(review_items.c.stepId == chosen.c.stepId)
    return listed.order_by(chosen.c.place, chosen.c.createdAt, chosen.c.stepId)


def _listed(condition: ColumnElement[bool]) -> Select[Any]:
    assignee, holder = users.alias("assignee"), users.alias("holder")
    return (
        select(
            review_items,
            assignee.c.identifier.label("assignee"),
            holder.c.identifier.label("holder"),
            threads.c.userIdentifier.label("user"),
        )
        .outerjoin(threads, threads.c.id == review_items.c.threadId)
        .outerjoin(assignee, assignee.c.id == review_items.c.assignedTo)
        .outerjoin(holder, holder.c.id == review_items.c.lockedBy)
        .where(condition)
    )


async def _questions(connection: AsyncConnection, step_ids: Collection[str]) -> dict[str, str | None]:
    """The beginnings of the questions before these answers; the thread's title for an answer without a question."""
    question = question_before(answers, characters=EXCERPT)
    # In a second statement, so that questions are looked up only for the items on the list.
    statement = (
        select(answers.c.stepId, func.coalesce(func.nullif(question, ""), threads.c.name))
        .join(threads, threads.c.id == answers.c.threadId)
        .where(answers.c.stepId.in_(list(step_ids)))
    )
    return {row[0]: row[1] for row in await connection.execute(statement)}


def _item(row: Any, question: str | None = None) -> ReviewItem:
    return ReviewItem(
        step_id=row.stepId,
        thread_id=row.threadId,
        reason=row.reason,
        created_at=row.createdAt,
        wanted=row.wanted,
        assigned_to=row.assignee,
        locked_by=row.holder,
        locked_until=row.lockedUntil,
        done_at=row.doneAt,
        user=row.user,
        question=question,
    )
