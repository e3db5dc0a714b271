"""SQL of the lists of answers: pages, newest first, and counts. Their time does not depend on the history's length.

The narrow rows of `review_answers` choose the answers of a page; texts, votes and names are read for those only.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.history import removed_answers
from datalayer.history.speech import speech_at_start, start_of_answer
from datalayer.records.review import AnswerCount, AnswerFilter, AnswerPage, AnswerRow, Thumb
from datalayer.review.access import REVIEWERS
from datalayer.review.filters import behind, chosen, cursor_of
from datalayer.review.questions import question_before
from datalayer.schema.chat import Identifier, feedback_changes, feedbacks, steps, threads, users
from datalayer.schema.review import IS_TAGGED, answers, review_items, thread_marks, verdicts

EXCERPT = 300
LARGEST_PAGE = 100
_THUMBS: dict[int | None, Thumb] = {1: "up", 0: "down", None: "none"}
_SOME = 1_000


async def page(
    connection: AsyncConnection,
    database: Database,
    which: AnswerFilter,
    *,
    cursor: str | None,
    limit: int,
    excerpts: bool,
) -> AnswerPage:
    """The answers after the cursor.

    Args:
        excerpts: whether rows contain the beginnings of question and answer, the comment and the thread's title.

    Raises:
        InvalidRecord: the limit is below 1, or the cursor or a time of the filter is not valid.
    """
    if limit < 1:
        raise InvalidRecord(f"a page of {limit} answers is not valid: give at least 1")
    size = min(limit, LARGEST_PAGE)
    found = await chosen(connection, database, which)
    conditions = [found.condition] if cursor is None else [found.condition, behind(cursor)]
    # One row more than asked for shows whether there is a next page.
    places = (
        select(answers.c.stepId, answers.c.createdAt)
        .where(*conditions)
        .order_by(answers.c.createdAt.desc(), answers.c.stepId.desc())
        .limit(size + 1)
    )
    place = (await connection.execute(places)).all()
    ids = [row.stepId for row in place[:size]]
    rows = (await connection.execute(_shown(), {"ids": ids})).mappings().all()
    texts = await _texts(connection, rows)
    votes = await _votes(connection, rows)
    return AnswerPage(
        # An answer whose text was deleted in this moment is left out.
        tuple(_row(row, texts[row["stepId"]], votes, excerpts=excerpts) for row in rows if row["stepId"] in texts),
        cursor_of(place[size - 1].createdAt, place[size - 1].stepId) if len(place) > size else None,
        found.is_partial,
    )


async def count(connection: AsyncConnection, database: Database, which: AnswerFilter, *, most: int) -> AnswerCount:
    """The number of answers, counted up to `most`.

    Raises:
        InvalidRecord: a time of the filter is not valid.
    """
    found = await chosen(connection, database, which)
    some = select(literal_column("1")).select_from(answers).where(found.condition).limit(most + 1).subquery()
    number: int = (await connection.execute(select(func.count()).select_from(some))).scalar_one()
    return AnswerCount(min(number, most), number > most or found.is_partial)


async def facets(connection: AsyncConnection) -> dict[str, list[str]]:
    """The values that filters offer.

    Keys: "assistants", "versions", "models", "labels", "tags", "reasons" and "reviewers".

    Tags are those of the latest thousand tagged answers, reasons those of the latest thousand thumbs down.
    """
    found: dict[str, list[str]] = {}
    for name, column in (
        ("assistants", answers.c.assistant),
        ("versions", answers.c.assistantVersion),
        ("models", answers.c.model),
        ("labels", verdicts.c.label),
    ):
        found[name] = list((await connection.execute(_distinct(column))).scalars())
    latest = (answers.c.createdAt.desc(), answers.c.stepId.desc())
    latest_down = select(answers.c.threadId, answers.c.isRemoved).where(answers.c.thumb == 0).order_by(*latest)
    down = latest_down.limit(_SOME).cte("down")
    lost = select(down.c.threadId).where(down.c.isRemoved.is_(true()))
    for name, some in (
        ("tags", select(answers.c.tags).where(IS_TAGGED).order_by(*latest).limit(_SOME)),
        (
            "reasons",
            union_all(
                select(feedbacks.c.reasons).where(
                    feedbacks.c.threadId.in_(select(down.c.threadId)), feedbacks.c.reasons.is_not(None)
                ),
                select(feedback_changes.c.reasons).where(
                    feedback_changes.c.threadId.in_(lost),
                    feedback_changes.c.reasons.is_not(None),
                    removed_answers.IS_LAST_VOTE,
                ),
            ),
        ),
    ):
        lists = (await connection.execute(some)).scalars().all()
        found[name] = sorted({text for texts in lists for text in texts})
    reviewing = select(users.c.identifier).where(users.c.role.in_(REVIEWERS), users.c.disabledAt.is_(None))
    found["reviewers"] = list((await connection.execute(reviewing.order_by(users.c.identifier))).scalars())
    return found


def _distinct(column: ColumnElement[Any]) -> Any:
    """The distinct values of a column, found by stepping through its index instead of reading all rows."""
    values = select(func.min(column).label("value")).cte("value", recursive=True)
    after = select(func.min(column)).where(column > values.c.value).scalar_subquery()
    values = values.union_all(select(after).where(values.c.value.is_not(None)))
    return select(values.c.value).where(values.c.value.is_not(None)).order_by(values.c.value)


@cache
def _shown() -> Select[Any]:
    """The columns of a page for the answers `ids`, in order. Built once: that takes longer than running it."""
    answer = steps.alias("answer")
    flagged = (
        select(literal_column("1"))
        .where(thread_marks.c.threadId == answers.c.threadId, thread_marks.c.kind == literal_column("'flag'", Text))
        .exists()
    )
    assignee = users.alias("assignee")
    return (
        select(
            answers,
            threads.c.name,
            threads.c.userIdentifier,
            question_before(answers, characters=EXCERPT).label("question"),
            start_of_answer(answer.c.output, EXCERPT).label("answer"),
            assignee.c.identifier.label("assignee"),
            flagged.label("flagged"),
            answer.c.id.is_not(None).label("isHere"),
        )
        .select_from(answers)
        .join(threads, threads.c.id == answers.c.threadId)
        .outerjoin(answer, answer.c.id == answers.c.stepId)
        .outerjoin(review_items, and_(review_items.c.stepId == answers.c.stepId, review_items.c.doneAt.is_(None)))
        .outerjoin(assignee, assignee.c.id == review_items.c.assignedTo)
        .where(answers.c.stepId.in_(bindparam("ids", type_=Identifier, expanding=True)))
        .order_by(answers.c.createdAt.desc(), answers.c.stepId.desc())
    )


async def _texts(connection: AsyncConnection, rows: Sequence[Any]) -> dict[str, Any]:
    """Question and answer by the answer's id; removed answers are read by a second statement, if there are any."""
    texts = {row["stepId"]: row for row in rows if row["isHere"]}
    if removed := [row["stepId"] for row in rows if not row["isHere"]]:
        found = await connection.execute(_removed(), {"ids": removed})
        texts.update({row["stepId"]: row for row in found.mappings()})
    return texts


@cache
def _removed() -> Select[Any]:
    return removed_answers.texts(EXCERPT)


@cache
def _voted() -> Any:
    """Comments and reasons of the votes on the steps `ids` in these `threads`, the latest first."""
    vote, change = feedbacks.c, feedback_changes.c
    ids, within = (bindparam(name, type_=Identifier, expanding=True) for name in ("ids", "threads"))
    now = select(vote.forId, vote.comment, vote.reasons, vote.updatedAt.label("moment")).where(
        vote.threadId.in_(within), vote.forId.in_(ids)
    )
    last = select(change.forId, change.comment, change.reasons, change.changedAt).where(
        change.threadId.in_(within), change.forId.in_(ids), removed_answers.IS_LAST_VOTE
    )
    both = union_all(now, last).subquery("votes")
    return select(both.c.forId, both.c.comment, both.c.reasons).order_by(both.c.moment.desc())


async def _votes(connection: AsyncConnection, rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Comments and reasons of the votes on these answers and their runs, the latest first, by the step's id."""
    voted = [row for row in rows if row["thumb"] is not None]
    by_step: dict[str, list[Any]] = defaultdict(list)
    if voted:
        ids = [one for row in voted for one in (row["stepId"], row["runId"]) if one is not None]
        values = {"ids": ids, "threads": list({row["threadId"] for row in voted})}
        for row in await connection.execute(_voted(), values):
            by_step[row.forId].append(row)
    return by_step


def _row(row: Any, text: Any, votes: dict[str, list[Any]], *, excerpts: bool) -> AnswerRow:
    of_answer = [vote for key in (row["stepId"], row["runId"]) for vote in votes.get(key, ())]
    return AnswerRow(
        step_id=row["stepId"],
        thread_id=row["threadId"],
        created_at=row["createdAt"],
        thread_name=row["name"] if excerpts else None,
        user=row["userIdentifier"],
        tags=tuple(row["tags"] or ()),
        question=text["question"] if excerpts else None,
        answer=speech_at_start(text["answer"], EXCERPT) if excerpts else None,
        thumb=_THUMBS[row["thumb"]],
        comment=next((vote.comment for vote in of_answer if vote.comment), None) if excerpts else None,
        reasons=tuple(dict.fromkeys(reason for vote in of_answer for reason in vote.reasons or ())),
        assistant=row["assistant"],
        model=row["model"],
        tokens=None if row["tokens"] is None else int(row["tokens"]),
        cost=row["cost"],
        seconds=row["seconds"],
        is_error=bool(row["isError"]),
        verdicts=row["verdicts"],
        assigned_to=row["assignee"],
        is_flagged=bool(row["flagged"]),
        is_removed=not row["isHere"],
        version=row["assistantVersion"],
        is_unknown=bool(row["isUnknown"]),
    )
