"""Tells by which clock the threads of a Chainlit database were dated, and changes nothing.

Chainlit dates steps in UTC. Threads are dated in local time labelled Z: by its SQLAlchemy layer in that of its server
(users too), in the tables of its asyncpg layer in that of the database's session. A thread is made within moments of
its first question. So where the two differ by nearly a whole number of quarter hours, as every time zone does from
UTC, that is how far the clock was from UTC when it dated the thread.
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
# A zone has two offsets in a year. Beyond a few it is chance, not clocks.
_MOST_OFFSETS = 4


@dataclass
class Suspects:
    """Threads of which one thing is to be told."""

    what: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, thread_id: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(thread_id)


async def suspicious_threads(connection: AsyncConnection) -> list[Suspects]:
    """Threads whose time and those of their steps do not go together, by what is wrong; the most common offset first.

    Reads in batches: nothing grows with the history.
    """
    unreadable = Suspects("threads whose time cannot be read (left)")
    younger = Suspects("threads that seem younger than their last step, by no time zone's offset (left)")
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
    """How far the clock of the thread was from that of its first question; None where no zone explains it."""
    nearest = round(difference / _QUARTER) * _QUARTER
    near = abs(difference - nearest) <= _MOMENTS and abs(nearest) <= _FARTHEST
    return nearest if near else None


def _offsets(found: dict[timedelta, Suspects]) -> list[Suspects]:
    most_first = sorted(found.items(), key=lambda item: (-item[1].count, item[0]))
    for offset, suspects in most_first:
        sign, minutes = "-" if offset < timedelta() else "+", abs(offset) // timedelta(minutes=1)
        zone = f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}"
        suspects.what = f"threads dated in local time labelled Z, by a clock at {zone} (left)"
    told = [suspects for _, suspects in most_first[:_MOST_OFFSETS]]
    rest = Suspects("threads dated in local time labelled Z, at other offsets (left)")
    for _, suspects in most_first[_MOST_OFFSETS:]:
        rest.count += suspects.count
        rest.examples = (rest.examples + suspects.examples)[:EXAMPLES]
    return [*told, rest]
