"""Takes over a database that one of Chainlit's own data layers made.

The tables of its SQLAlchemy layer are ours already: they get what they lack, in place. The tables of its asyncpg
layer (made by Prisma) are read and left as they are; `adoption_prisma` copies their rows into ours. All of it is one
transaction. A dry run does everything and undoes it, so that what it says is what would happen.
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
from datalayer.migrations import add_tables_and_columns, apply_pending
from datalayer.schema.chat import elements, feedback_changes, feedbacks, migrations, steps, threads, users

TABLES = (users, threads, steps, elements, feedbacks)
_UUID_LENGTH = 36


@dataclass(frozen=True)
class TableCount:
    """Rows of one source table, and of our table before and after. In place the two are one table."""

    source: str
    table: str
    found: int
    before: int
    after: int
    left_behind: int


@dataclass(frozen=True)
class Finding:
    """Rows that an operator should know of, by number, with the ids of a few."""

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Adoption:
    """What was done (`applied`) or would be."""

    applied: bool
    counts: tuple[TableCount, ...]
    findings: tuple[Finding, ...]


class _Undo(Exception):
    """Ends the transaction of a dry run."""


async def adopt(database: Database, *, apply: bool = False) -> Adoption:
    """Adopt the database in place and move over the rows of Prisma's tables, where there are any.

    Without `apply` everything is undone at the end; the tables are locked for as long.

    Raises:
        SchemaError: a newer version migrated it, or what is in it cannot be adopted; nothing was changed.
        StorageUnavailable: the database cannot be used; nothing was changed.
    """
    report: Adoption | None = None
    try:
        async with database.write() as connection:
            await database.dialect.lock_migrations(connection)
            counts, findings = await _adopt(connection, database.dialect.row_position)
            report = Adoption(apply, counts, findings)
            if not apply:
                raise _Undo
    except _Undo:
        pass
    assert report is not None
    return report


async def is_to_be_adopted(database: Database) -> bool:
    """Whether one of Chainlit's own layers made this database, and nobody has adopted or migrated it yet.

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
        raise SchemaError("none of Chainlit's layers made this database: it has neither users, threads and steps "
                          'nor "User", "Thread" and "Step"')  # fmt: skip
    before = {table.name: await _count(connection, table) if table.name in there else 0 for table in TABLES}
    await add_tables_and_columns(connection)
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
        await prisma.move(connection)
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
    """Of the votes of one person on one step the newest stays, the others go to `feedback_changes`.

    Chainlit's tables give votes no time. The row that lies last in the table is taken for the newest: rows are
    written in order, and nothing else tells. Must run before anything rewrites the rows.
    """
    # Chainlit's layer does not say who voted; it is the owner who sees the thumbs.
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
            f"the database was left as it was: {lost.count} votes are there twice and their thread is gone, so that "
            f"they can be kept nowhere (feedbacks {', '.join(lost.examples)}); delete them first"
        )
    what = "votes given twice by one person on one step; the last in the table stays, these go to feedback_changes"
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
        # By the history, for the ranking must not be asked of a table that is being emptied.
        noted = select(feedback_changes.c.id).where(feedback_changes.c.id == feedback_changes.c.feedbackId)
        await connection.execute(delete(feedbacks).where(feedbacks.c.id.in_(noted)))
    return folded


def _noticed(now: str) -> list[tuple[str, Select[tuple[str]]]]:
    """What is kept as it is and told of: each a query for ids."""
    ownerless = and_(threads.c.userId.is_not(None), ~exists().where(users.c.id == threads.c.userId))
    noticed: list[tuple[str, Select[tuple[str]]]] = [
        ("threads without an owner (kept; nobody's list shows them)", _ids(threads, threads.c.userId.is_(None))),
        ("threads whose owner is gone (kept)", _ids(threads, ownerless)),
    ]
    for table in (steps, elements, feedbacks):
        gone = and_(table.c.threadId.is_not(None), ~exists().where(threads.c.id == table.c.threadId))
        noticed.append((f"{table.name} whose thread is gone (kept)", _ids(table, gone)))
    noticed.append(("elements without a thread (kept)", _ids(elements, elements.c.threadId.is_(None))))
    noticed += [
        (f"{table.name} from the future (left)", _ids(table, table.c.createdAt > now))
        for table in (users, threads, steps)
    ]
    noticed += [
        (
            f"{table.name} whose id is no UUID (kept, but cannot be opened)",
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
