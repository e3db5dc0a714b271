"""Checks that a Postgres database is the one of a backup's dump, restored and not used since."""

from sqlalchemy import Select, exists, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.backup.manifest import BackupHeader
from datalayer.cleaning import utc_now
from datalayer.errors import BackupError
from datalayer.schema.chat import elements, threads, users
from datalayer.schema.knowledge import data_sources

_INTO_EMPTY = "let DATABASE_URL name an empty database, and run `threadkeeper restore` again"


async def check_restored(connection: AsyncConnection, header: BackupHeader, *, has_file_of_backup: bool) -> None:
    """Refuse a database that was not restored from the backup's dump, or that was written to since.

    Args:
        has_file_of_backup: whether a row of the database names a file of the backup.

    Raises:
        BackupError: with what to do.
    """
    # A time in the future was imported, so it says nothing.
    newer = union_all(
        *(
            select(table.c.createdAt).where(table.c.createdAt > header.finished_at, table.c.createdAt <= utc_now())
            for table in (threads, elements, data_sources)
        )
    ).limit(1)
    if (found := (await connection.execute(newer)).scalar()) is not None:
        raise BackupError(
            f"the database is in use: it has a row of {found}, and the backup was finished at {header.finished_at}; "
            f"nothing was restored; {_INTO_EMPTY}"
        )
    if has_file_of_backup:
        return
    # Files whose rows were deleted just before the dump are in the backup, and no row names them.
    has_threads = await _any(connection, select(threads.c.id))
    is_empty = not has_threads and (header.files or not await _any(connection, select(users.c.id)))
    if is_empty:
        raise BackupError(
            "the database has tables, but not the rows of the backup: a server or `threadkeeper migrate` made them; "
            f"nothing was restored; {_INTO_EMPTY}"
        )
    if header.files and (
        await _any(connection, select(elements.c.id).where(elements.c.objectKey.is_not(None)))
        or await _any(connection, select(data_sources.c.id).where(data_sources.c.objectKey.is_not(None)))
    ):
        raise BackupError(
            f"the database is not of this backup: none of its rows names one of the backup's {header.files} files; "
            f"nothing was restored; {_INTO_EMPTY}"
        )


async def _any(connection: AsyncConnection, rows: Select[tuple[str]]) -> bool:
    return bool((await connection.execute(select(exists(rows)))).scalar())
