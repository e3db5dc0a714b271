"""How a Postgres database is migrated while others read and write."""

from dataclasses import replace
from functools import partial

from sqlalchemy import Index, NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex

from datalayer.dialects.postgresql_connector import Connector
from datalayer.schema.chat import metadata

_NO_LIMIT_SECONDS = 7 * 24 * 3600.0
# Everybody who needs the table queues behind a statement that waits for its lock.
_GIVE_UP = text("SET LOCAL lock_timeout = '500ms'")
_UNFINISHED = text(
    """SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace"""
)
_ROWS = text("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(quote_ident(:name))")


class PostgresMigrations:
    """Changes of the schema beside readers and writers."""

    def create_engine(self, url: str) -> AsyncEngine:
        connector = Connector(url)
        connector.url = replace(connector.url, command_seconds=_NO_LIMIT_SECONDS)
        arguments = {
            "async_creator_fn": partial(connector.connect, {}),
            "prepared_statement_cache_size": connector.kept_descriptions,
        }
        return create_async_engine("postgresql+asyncpg://", connect_args=arguments, poolclass=NullPool)

    async def give_up_soon(self, connection: AsyncConnection) -> None:
        await connection.execute(_GIVE_UP)

    async def drop_unfinished_indexes(self, connection: AsyncConnection) -> None:
        ours = {str(index.name) for table in metadata.sorted_tables for index in table.indexes}
        for name in (await connection.execute(_UNFINISHED)).scalars().all():
            if name in ours:
                await connection.exec_driver_sql(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')

    async def build_index(self, connection: AsyncConnection, index: Index) -> None:
        statement = str(CreateIndex(index).compile(dialect=connection.dialect))
        await connection.exec_driver_sql(statement.replace("INDEX ", "INDEX CONCURRENTLY ", 1))

    async def rows(self, connection: AsyncConnection, table: str) -> int:
        return int((await connection.execute(_ROWS, {"name": table})).scalar() or 0)
