"""Reports the time zone in which the threads of a Chainlit database were dated. Nothing is changed.

Chainlit dates steps in UTC, but threads in local time labelled Z: its SQLAlchemy layer in the zone of the server (users
too), its asyncpg layer in the zone of the database session. A thread is created within moments of its first question.
If the two times differ by nearly a whole number of quarter hours, the difference is the offset of that zone from UTC,
because the offset of every time zone is a whole number of quarter hours.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.schema.chat import steps, threads

EXAMPLES = 3
_QUARTER = timedelta(minutes=15)
_MOMENTS = timedelta(seconds=90)
_FARTHEST = timedelta(hours=14)
_BATCH = 1000
# A time zone has two offsets in a year. More than a few offsets are coincidence.
_MOST_OFFSETS = 4


@dataclass
class Suspects:
    """Threads with the same problem."""

    what: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, thread_id: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(thread_id)


async def suspicious_threads(connection: AsyncConnection) -> list[Suspects]:
    """Threads with a time that contradicts the times of their steps, by problem; the most common offset first.

    Reads in batches, so that memory does not grow with the history.
    """
    unreadable = Suspects("threads with an unreadable time (not changed)")
    younger = Suspects("threads dated after their last step, but not by a time zone's offset (not changed)")
    by_offset: dict[timedelta, Suspects] = defaultdict(lambda: Suspects(""))
    question = case((steps.c.type == "user_message", steps.c.createdAt))
    moments = (
        select(
            steps.c.threadId.label("thread"),
            func.coalesce(func.min(question), func.min(steps.c.createdAt)).label("first"),
            func.max(steps.c.createdAt).label("last"),
        )
        .where(steps.c.createdAt.is_not(None))
        .group_by(steps.c.threadId)
        .subquery()
    )
    statement = (
        select(threads.c.id, threads.c.createdAt, moments.c.first, moments.c.last)
        .join(moments, moments.c.thread == threads.c.id)
        .where(threads.c.createdAt.is_not(None))
    )
    async with connection.stream(statement, execution_options={"yield_per": _BATCH}) as rows:
        async for thread_id, made, first, last in rows:
            try:
                offset = _offset(_moment(made) - _moment(first))
                is_younger = _moment(made) > _moment(last)
            except ValueError:
                unreadable.add(str(thread_id))
                continue
            if offset:
                by_offset[offset].add(str(thread_id))
            elif is_younger and offset is None:
                younger.add(str(thread_id))
    return [*_offsets(by_offset), younger, unreadable]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _offset(difference: timedelta) -> timedelta | None:
    """The offset of the thread's time from that of its first question; None if no time zone has this offset."""
    nearest = round(difference / _QUARTER) * _QUARTER
    near = abs(difference - nearest) <= _MOMENTS and abs(nearest) <= _FARTHEST
    return nearest if near else None


def _offsets(found: dict[timedelta, Suspects]) -> list[Suspects]:
    most_first = sorted(found.items(), key=lambda item: (-item[1].count, item[0]))
    for offset, suspects in most_first:
        sign, minutes = "-" if offset < timedelta() else "+", abs(offset) // timedelta(minutes=1)
        zone = f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}"
        suspects.what = f"threads dated in local time labelled Z, by a clock at {zone} (not changed)"
    common = [suspects for _, suspects in most_first[:_MOST_OFFSETS]]
    rest = Suspects("threads dated in local time labelled Z, at other offsets (not changed)")
    for _, suspects in most_first[_MOST_OFFSETS:]:
        rest.count += suspects.count
        rest.examples = (rest.examples + suspects.examples)[:EXAMPLES]
    return [*common, rest]
