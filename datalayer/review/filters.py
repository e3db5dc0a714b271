"""Filters of answers as conditions on `review_answers`, and the cursor of a page.

Words are looked up first, in the search index. The index keeps the texts of each user apart, so a statement asks for
several users at once until enough threads are found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    false,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_text, clean_time, known_id
from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.history.removed_answers import IS_LAST_VOTE
from datalayer.history.search import WANTED
from datalayer.history.search_tokens import owner_key, understood
from datalayer.history.user_names import by_name
from datalayer.records.review import AnswerFilter
from datalayer.schema.chat import Identifier, feedback_changes, feedbacks, search_texts, users
from datalayer.schema.review import IS_COMMENTED, IS_ERROR, IS_REVIEWED, answers, review_items, thread_marks, verdicts

MOST_THREADS = 2_000
"""How many threads a search by words finds at most."""
# The index compares each text with all users of a statement. For common words the first few users are enough; for rare
# words each statement asks for twice as many users as the one before.
_USERS_AT_FIRST = 25
# Postgres accepts no search query of more than 1 MB, and many users or many words make a long one.
_LONGEST_WANTED = 100_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A condition on `review_answers`. If `is_partial`, the words are in more than `MOST_THREADS` threads."""

    condition: ColumnElement[bool]
    is_partial: bool = False


async def chosen(connection: AsyncConnection, database: Database, which: AnswerFilter) -> Chosen:
    """The condition for the answers that match the filter.

    Raises:
        InvalidRecord: a time of the filter is not valid.
    """
    conditions = [*_of_row(which), *_of_others(database.dialect, which)]
    user_ids: list[str] | None = None
    if which.users:
        user_ids = await _user_ids(connection, which.users)
        conditions.append(answers.c.userId == user_ids[0] if len(user_ids) == 1 else answers.c.userId.in_(user_ids))
    if which.assigned_to is not None:
        assignee = by_name(select(users.c.id), clean_text(which.assigned_to)).scalar_subquery()
        theirs = review_items.c.assignedTo == assignee, review_items.c.doneAt.is_(None)
        conditions.append(answers.c.stepId.in_(select(review_items.c.stepId).where(*theirs)))
    is_partial = False
    if which.words and not which.words.isspace():
        found = await _threads_with(connection, database, which.words, user_ids, most=MOST_THREADS + 1)
        is_partial = len(found) > MOST_THREADS
        conditions.append(answers.c.threadId.in_(found[:MOST_THREADS]) if found else false())
    return Chosen(and_(true(), *conditions), is_partial)


async def threads_with_words(connection: AsyncConnection, database: Database, which: AnswerFilter) -> list[str] | None:
    """The sorted ids of all threads that contain the filter's words; None if the filter has no words."""
    if not which.words or which.words.isspace():
        return None
    user_ids = await _user_ids(connection, which.users) if which.users else None
    return sorted(await _threads_with(connection, database, which.words, user_ids))


def cursor_of(created_at: str, step_id: str) -> str:
    """The cursor after this answer."""
    return cursors.encode("answers", created_at, step_id)


def behind(cursor: str) -> ColumnElement[bool]:
    """The condition for the answers after a page.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    moment, step_id = cursors.decode(cursor, "answers", clean_text, known_id)
    place = tuple_(literal(moment, Text), literal(step_id, Identifier))
    return tuple_(answers.c.createdAt, answers.c.stepId) < place


def _of_row(which: AnswerFilter) -> list[ColumnElement[bool]]:
    """Conditions on the columns of `review_answers`."""
    conditions: list[ColumnElement[bool]] = []
    if which.thumb is not None:
        values = {"up": answers.c.thumb == 1, "down": answers.c.thumb == 0, "none": answers.c.thumb.is_(None)}
        conditions.append(values[which.thumb])
    for wanted, holds in (
        (which.has_comment, IS_COMMENTED),
        (which.is_error, IS_ERROR),
        (which.is_reviewed, IS_REVIEWED),
        (which.is_unknown, answers.c.isUnknown.is_(true())),
    ):
        if wanted is not None:
            conditions.append(holds if wanted else not_(holds))
    for column, texts in (
        (answers.c.assistant, which.assistants),
        (answers.c.assistantVersion, which.versions),
        (answers.c.model, which.models),
    ):
        if texts:
            cleaned = [clean_text(text) for text in texts]
            conditions.append(column == cleaned[0] if len(cleaned) == 1 else column.in_(cleaned))
    since, until = clean_time(which.since, "begin"), clean_time(which.until, "end")
    if since is not None:
        conditions.append(answers.c.createdAt >= since)
    if until is not None:
        conditions.append(answers.c.createdAt < until)
    if which.min_cost is not None:
        conditions.append(answers.c.cost >= which.min_cost)
    if which.max_cost is not None:
        conditions.append(answers.c.cost <= which.max_cost)
    return conditions


def _of_others(dialect: Dialect, which: AnswerFilter) -> list[ColumnElement[bool]]:
    """Conditions on other tables."""
    conditions: list[ColumnElement[bool]] = []
    if which.reasons:
        wanted = [clean_text(one) for one in which.reasons]
        given, once_given = (
            select(table.c.id).where(
                table.c.threadId == answers.c.threadId,
                or_(table.c.forId == answers.c.stepId, table.c.forId == answers.c.runId),
                dialect.has_any(table.c.reasons, wanted),
            )
            for table in (feedbacks, feedback_changes)
        )
        of_removed = and_(answers.c.isRemoved.is_(true()), once_given.where(IS_LAST_VOTE).exists())
        # A reason belongs to a vote, and the index of votes narrows the search.
        conditions += [answers.c.thumb.is_not(None), or_(given.exists(), of_removed)]
    if which.tags:
        conditions.append(dialect.has_any(answers.c.tags, [clean_text(tag) for tag in which.tags]))
    if which.labels:
        labelled = verdicts.c.label.in_([clean_text(label) for label in which.labels])
        conditions += [IS_REVIEWED, answers.c.stepId.in_(select(verdicts.c.stepId).where(labelled))]
    if which.is_flagged is not None:
        flagged = answers.c.threadId.in_(select(thread_marks.c.threadId).where(thread_marks.c.kind == "flag"))
        conditions.append(flagged if which.is_flagged else not_(flagged))
    return conditions


@cache
def _hits(dialect: type[Dialect], most: int | None) -> Select[Any]:
    """The same condition as in the users' own search, so that the engine always uses the index."""
    texts = select(search_texts.c.threadId).where(dialect.matches_words(WANTED)).distinct()
    return texts if most is None else texts.limit(literal_column(str(most), Integer))


async def _user_ids(connection: AsyncConnection, identifiers: Sequence[str]) -> list[str]:
    found = [
        (await connection.execute(by_name(select(users.c.id), clean_text(identifier)))).scalar()
        for identifier in identifiers
    ]
    return [user_id for user_id in found if user_id is not None]


async def _threads_with(
    connection: AsyncConnection,
    database: Database,
    words: str,
    user_ids: Sequence[str] | None,
    *,
    most: int | None = None,
) -> list[str]:
    query = understood(clean_text(words))
    if query is None:
        return []
    if user_ids is None:
        user_ids = list((await connection.execute(select(users.c.id))).scalars())
    dialect = database.dialect
    found: dict[str, None] = {}
    largest = max(1, _LONGEST_WANTED // len(dialect.search_query(owner_key(""), query).encode()))
    at, size = 0, min(_USERS_AT_FIRST, largest)
    while at < len(user_ids) and (most is None or len(found) < most):
        some = user_ids[at : at + size]
        at, size = at + size, min(size * 2, largest)
        wanted = dialect.any_of([dialect.search_query(owner_key(user_id), query) for user_id in some])
        rows = await database.fetch(_hits(type(dialect), most), {"wanted": wanted})
        found.update((row[0], None) for row in rows)
    return list(found)
