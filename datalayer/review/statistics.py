"""Statistics of votes and verdicts, computed in SQL: over time, by assistant and model, and by words."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Integer,
    LargeBinary,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord
from datalayer.history.search_tokens import KEY_LENGTH
from datalayer.records.review_statistics import Coverage, Satisfaction, WordCount
from datalayer.schema.chat import search_texts
from datalayer.schema.review import IS_REVIEWED, answers, verdicts

LOOKED_AT = 2_000
"""How many of the latest bad answers, and of the latest others, are searched for words."""
TIMES_AS_COMMON = 2
"""A word is listed if its share of the bad answers is at least this many times its share of the others."""
SHORTEST_WORD = 3
"""Letters of a word, in scripts with spaces between words; in other scripts two characters are enough."""
_BYTES_OF_A_SIGN = 3
_SPLITS: dict[str, Column[Any]] = {"assistant": answers.c.assistant, "model": answers.c.model}


async def satisfaction(
    connection: AsyncConnection, periods: Sequence[tuple[str, str]], split_by: str | None
) -> list[Satisfaction]:
    """Votes per period, in order. If split, each period has a row for every value that occurs in any period.

    Raises:
        InvalidRecord: `split_by` is unknown.
    """
    if not periods:
        return []
    pieces = (
        values(column("position", Integer), column("begins", Text), column("ends", Text), name="given")
        .data([(at, begin, end) for at, (begin, end) in enumerate(periods)])
        .cte("period")
    )
    within = and_(answers.c.createdAt >= pieces.c.begins, answers.c.createdAt < pieces.c.ends)
    keys = [pieces.c.position, _split(split_by).label("value")]
    statement = (
        select(*keys, func.count(), _count(answers.c.thumb == 1), _count(answers.c.thumb == 0))
        .join_from(pieces, answers, within)
        .group_by(*keys)
    )
    found = {(row[0], row[1]): row[2:] for row in await connection.execute(statement)}
    every: list[str | None] = sorted({value for _, value in found if value is not None})
    if split_by is None or any(value is None for _, value in found):
        every.append(None)
    return [
        Satisfaction(begin, end, value, *found.get((at, value), (0, 0, 0)))
        for at, (begin, end) in enumerate(periods)
        for value in every
    ]


async def coverage(connection: AsyncConnection, condition: ColumnElement[bool], by: str | None) -> list[Coverage]:
    """Numbers of answers with a verdict, and of verdicts per label; values with most answers first.

    Raises:
        InvalidRecord: `by` is unknown.
    """
    value, down = _split(by).label("value"), answers.c.thumb == 0
    counts = select(
        value, func.count().label("all"), _count(IS_REVIEWED), _count(down), _count(and_(down, IS_REVIEWED))
    )
    given = (
        select(value, verdicts.c.label, func.count())
        .join_from(verdicts, answers, answers.c.stepId == verdicts.c.stepId)
        .where(condition)
    )
    grouped = [] if by is None else [value]
    labels: dict[str | None, dict[str, int]] = defaultdict(dict)
    for name, label, count in await connection.execute(given.group_by(*grouped, verdicts.c.label)):
        labels[name][label] = count
    order = func.count().desc()
    rows = (await connection.execute(counts.where(condition).group_by(*grouped).order_by(order))).all()
    return [
        Coverage(name, answered, reviewed, disliked, dislikes_reviewed, labels.get(name, {}))
        for name, answered, reviewed, disliked, dislikes_reviewed in rows
    ]


async def words_in_bad(
    connection: AsyncConnection,
    dialect: Dialect,
    condition: ColumnElement[bool],
    *,
    bad_labels: Sequence[str],
    limit: int,
) -> list[WordCount]:
    """Words that are more common in bad answers than in the others, largest difference of the two shares first.

    A word's share of the bad answers must be at least `TIMES_AS_COMMON` times its share of the others, so that words of
    most answers are never listed. Words of less than `SHORTEST_WORD` letters are left out.
    """
    labelled = select(verdicts.c.stepId).where(verdicts.c.label.in_(list(bad_labels)))
    bad = or_(func.coalesce(answers.c.thumb, 1) == 0, and_(IS_REVIEWED, answers.c.stepId.in_(labelled)))
    sides = [_latest(and_(condition, bad), "bad"), _latest(and_(condition, ~bad), "others")]
    counts = []
    for side in sides:
        word = dialect.words_in(search_texts.c.words)
        text = func.substr(word.c.value, KEY_LENGTH + 1)
        found = (
            select(text.label("word"), func.count().label("number"), _count(side.c.thumb == 0).label("down"))
            .select_from(side)
            .join(search_texts, search_texts.c.stepId == side.c.stepId)
            .join(word, literal_column("true"))
            .where(_says_something(text))
            .group_by(text)
        )
        counts.append(found.cte(f"words_of_{side.name}"))
    in_bad, in_others = counts
    sizes = [select(func.count()).select_from(side).scalar_subquery() for side in sides]
    other_number = func.coalesce(in_others.c.number, 0)
    of_bad, of_others = _share(in_bad.c.number, sizes[0]), _share(other_number, sizes[1])
    difference = of_bad - of_others
    statement = (
        select(in_bad.c.word, in_bad.c.number, other_number, in_bad.c.down)
        .select_from(in_bad)
        .outerjoin(in_others, in_others.c.word == in_bad.c.word)
        .where(of_bad >= TIMES_AS_COMMON * of_others)
        .order_by(difference.desc(), in_bad.c.word)
        .limit(limit)
    )
    return [WordCount(*row) for row in await connection.execute(statement)]


def _latest(condition: ColumnElement[bool], name: str) -> Any:
    order = answers.c.createdAt.desc(), answers.c.stepId.desc()
    return select(answers.c.stepId, answers.c.thumb).where(condition).order_by(*order).limit(LOOKED_AT).cte(name)


def _says_something(word: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the word is long enough. A character of a script without spaces has three bytes, a letter one or two."""
    # The cast is safe: a token contains no backslash, which Postgres would read as an escape.
    length, size = func.length(word), func.length(cast(word, LargeBinary))
    return or_(length >= SHORTEST_WORD, and_(length > 1, size >= _BYTES_OF_A_SIGN * length))


def _share(number: Any, size: Any) -> Any:
    return cast(number, Float) / case((size > 0, size), else_=1)


def _split(by: str | None) -> ColumnElement[Any]:
    if by is None:
        return cast(null(), Text)
    if by not in _SPLITS:
        raise InvalidRecord(f"cannot group answers by {clean_text(str(by))[:60]!r}: use {' or '.join(_SPLITS)}")
    return _SPLITS[by]


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
