"""Adopts a database that one of Chainlit's own data layers created.

The tables of its SQLAlchemy layer have our names: missing columns and indexes are added in place. The tables of its
asyncpg layer (created by Prisma) are only read; `prisma` copies their rows into our tables. Everything happens in one
transaction. A dry run does the same and rolls back, so that its report is exact.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.adoption import prisma
from datalayer.adoption.clocks import EXAMPLES, suspicious_threads
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.errors import SchemaError
from datalayer.history.user_names import alike
from datalayer.migrations import add_tables_and_columns, apply_pending, locked
from datalayer.schema.chat import elements, feedback_changes, feedbacks, migrations, steps, threads, users

TABLES = (users, threads, steps, elements, feedbacks)
_UUID_LENGTH = 36


@dataclass(frozen=True)
class TableCount:
    """Numbers of rows in a source table, and in our table before and after; in place both are the same table."""

    source: str
    table: str
    found: int
    before: int
    after: int
    left_behind: int


@dataclass(frozen=True)
class Finding:
    """A number of rows that the operator should know about, with some of their ids."""

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Adoption:
    """The report of an adoption (`applied`) or of a dry run."""

    applied: bool
    counts: tuple[TableCount, ...]
    findings: tuple[Finding, ...]


class _Undo(Exception):
    """Rolls back the transaction of a dry run."""


async def adopt(database: Database, *, apply: bool = False) -> Adoption:
    """Adopt the database in place, and copy the rows of Prisma's tables if it has them.

    Args:
        apply: without it everything is rolled back at the end. The tables are locked until then in both cases.

    Raises:
        SchemaError: a newer version migrated the database, or its data cannot be adopted. Nothing was changed.
        StorageUnavailable: the database cannot be used. Nothing was changed.
    """
    report: Adoption | None = None
    try:
        async with locked(database) as connection:
            counts, findings = await _adopt(connection, database.dialect.row_position)
            report = Adoption(apply, counts, findings)
            if not apply:
                raise _Undo
    except _Undo:
        pass
    assert report is not None
    return report


async def is_to_be_adopted(database: Database) -> bool:
    """Whether one of Chainlit's own layers created this database, and it was not adopted or migrated yet.

    Raises:
        StorageUnavailable: the database cannot be used.
    """
    async with database.read() as connection:
        there = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    return migrations.name not in there and _is_chainlits(there)


def _is_chainlits(there: set[str]) -> bool:
    return prisma.SOURCES.keys() <= there or {table.name for table in TABLES} <= there


async def _adopt(connection: AsyncConnection, position: str) -> tuple[tuple[TableCount, ...], tuple[Finding, ...]]:
    there = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    moving = prisma.SOURCES.keys() <= there
    if not _is_chainlits(there):
        raise SchemaError("this is not a database of Chainlit's: it has neither the tables users, threads and steps "
                          'nor "User", "Thread" and "Step"')  # fmt: skip
    before = {table.name: await _count(connection, table) if table.name in there else 0 for table in TABLES}
    await connection.run_sync(add_tables_and_columns)
    findings = [await _fold_votes(connection, position)]
    await apply_pending(connection)
    left = dict.fromkeys(before, 0)
    found = before
    if moving:
        found = await prisma.count(connection)
        for source, what, ids in prisma.left_behind():
            finding = await _finding(connection, what, ids)
            findings.append(finding)
            left[source] += finding.count
        findings.append(await _finding(connection, prisma.FOLDED, prisma.folded_votes()))
        merged = await prisma.move(connection)
        findings.append(Finding(prisma.MERGED, len(merged), tuple(merged[:EXAMPLES])))
    for names in await alike(connection):
        what = f"users whose names differ only in case (kept as they are; a login in another spelling is {names[0]!r})"
        findings.append(Finding(what, len(names), names[:EXAMPLES]))
    now = utc_now()
    findings += [await _finding(connection, what, ids) for what, ids in _noticed(now)]
    for suspects in await suspicious_threads(connection):
        findings.append(Finding(suspects.what, suspects.count, tuple(suspects.examples)))
    sources = {table: source for source, table in prisma.SOURCES.items()} if moving else {}
    counts = [
        TableCount(
            sources.get(table.name, table.name),
            table.name,
            found[table.name],
            before[table.name],
            await _count(connection, table),
            left[table.name],
        )
        for table in TABLES
    ]
    return tuple(counts), tuple(finding for finding in findings if finding.count)


async def _fold_votes(connection: AsyncConnection, position: str) -> Finding:
    """Keep the newest vote of each person on each step, and move the older ones to `feedback_changes`.

    Chainlit's tables store no time of a vote. The last row in the table counts as the newest, because rows are
    written in order. This must run before a statement rewrites the rows and changes their positions.
    """
    # Chainlit's layer does not store the voter. Only the owner sees the thumbs, so the vote is the owner's.
    voter = func.coalesce(feedbacks.c.userId, threads.c.userId)
    newest_first: tuple[ColumnElement[Any], ...] = (
        func.coalesce(feedbacks.c.updatedAt, "").desc(),
        literal_column(f"feedbacks.{position}").desc(),
    )
    ranked = (
        select(
            feedbacks.c.id,
            voter.label("voter"),
            threads.c.id.label("thread"),
            func.row_number().over(partition_by=(feedbacks.c.forId, voter), order_by=newest_first).label("place"),
        )
        .select_from(feedbacks.outerjoin(threads, threads.c.id == feedbacks.c.threadId))
        .subquery()
    )
    older = select(ranked.c.id).where(ranked.c.place > 1)
    lost = await _finding(connection, "", older.where(ranked.c.thread.is_(None)))
    if lost.count:
        raise SchemaError(
            f"the database was not changed: it has {lost.count} duplicate votes of threads that do not exist, so that "
            f"their history cannot be stored (feedbacks {', '.join(lost.examples)}); delete them first"
        )
    what = "duplicate votes of one person on one step (moved to feedback_changes; the last in the table is kept)"
    folded = await _finding(connection, what, older)
    if folded.count:
        kept = ("id", "feedbackId", "forId", "threadId", "userId", "value", "comment", "changedAt")
        history = (
            select(
                feedbacks.c.id,
                feedbacks.c.id,
                feedbacks.c.forId,
                feedbacks.c.threadId,
                ranked.c.voter,
                feedbacks.c.value,
                feedbacks.c.comment,
                func.coalesce(feedbacks.c.updatedAt, literal(utc_now(), Text)),
            )
            .join(ranked, ranked.c.id == feedbacks.c.id)
            .where(ranked.c.place > 1)
        )
        await connection.execute(insert(feedback_changes).from_select(kept, history))
        # Selects by the history, because the ranking would change while rows are being deleted.
        noted = select(feedback_changes.c.id).where(feedback_changes.c.id == feedback_changes.c.feedbackId)
        await connection.execute(delete(feedbacks).where(feedbacks.c.id.in_(noted)))
    return folded


def _noticed(now: str) -> list[tuple[str, Select[tuple[str]]]]:
    """Rows that are kept unchanged but reported: a description and a query for the ids of each kind."""
    ownerless = and_(threads.c.userId.is_not(None), ~exists().where(users.c.id == threads.c.userId))
    noticed: list[tuple[str, Select[tuple[str]]]] = [
        ("threads without an owner (kept, but in nobody's list)", _ids(threads, threads.c.userId.is_(None))),
        ("threads of an owner who does not exist (kept, but in nobody's list)", _ids(threads, ownerless)),
    ]
    for table in (steps, elements, feedbacks):
        orphaned = and_(table.c.threadId.is_not(None), ~exists().where(threads.c.id == table.c.threadId))
        noticed.append((f"{table.name} of a thread that does not exist (kept)", _ids(table, orphaned)))
    noticed.append(("elements without a thread (kept)", _ids(elements, elements.c.threadId.is_(None))))
    noticed += [
        (f"{table.name} with a time in the future (not changed)", _ids(table, table.c.createdAt > now))
        for table in (users, threads, steps)
    ]
    noticed += [
        (
            f"{table.name} with an id that is not a UUID (kept, but cannot be opened)",
            _ids(table, func.length(cast(table.c.id, Text)) != _UUID_LENGTH),
        )
        for table in TABLES
    ]
    return noticed


def _ids(table: Table, condition: ColumnElement[bool]) -> Select[tuple[str]]:
    return select(table.c.id).where(condition)


async def _finding(connection: AsyncConnection, what: str, ids: Select[tuple[str]]) -> Finding:
    total = (await connection.execute(select(func.count()).select_from(ids.subquery()))).scalar_one()
    examples = (await connection.execute(ids.limit(EXAMPLES))).scalars().all() if total else ()
    return Finding(what, total, tuple(map(str, examples)))


async def _count(connection: AsyncConnection, table: Table) -> int:
    total: int = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return total
