"""Imports the model calls of a takeout: they become the user's, and existing calls stay as they are.

Each is checked like a call that an application records; a takeout cannot import a negative price either.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_time
from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, LlmCallWrite
from datalayer.schema.usage import llm_call_payloads, llm_calls
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.format import checked_row, lines_name
from datalayer.usage.calls import call_of
from datalayer.usage.cleaning import clean_call
from datalayer.writes import calls as usage_writes
from datalayer.writes.queue import Writer


class CallsImport:
    """Imports the calls of one takeout, and then the payloads of the imported calls."""

    def __init__(self, database: Database, writer: Writer, archive: TakeoutArchive) -> None:
        self._database, self._writer, self._archive = database, writer, archive
        self.counts: Counter[str] = Counter()
        """The number of imported rows by table."""
        self.left_out = 0
        """The number of calls that exist already."""

    async def check(self, source_id: str) -> None:
        """Read all calls and payloads, and store nothing.

        Raises:
            InvalidRecord: a call belongs to someone else, or has an invalid value.
        """
        async with aclosing(self._calls(source_id, source_id, ())) as batches:
            async for _ in batches:
                pass
        async with aclosing(self._rows(llm_call_payloads)) as batches_of_payloads:
            async for rows in batches_of_payloads:
                for row in rows:
                    _payload(row)

    async def run(self, source_id: str, user_id: str, thread_ids: Collection[str]) -> None:
        """Import the calls of the takeout's user as calls of this user.

        Args:
            source_id: the user's id in the takeout.
            user_id: the user's id here.
            thread_ids: the threads of the takeout. Calls in other threads lose their thread id.

        Raises:
            InvalidRecord: a call belongs to someone else, or has an invalid value.
        """
        new: set[str] = set()
        async with aclosing(self._calls(source_id, user_id, thread_ids)) as batches:
            async for calls in batches:
                existing = await self._existing(calls)
                self.left_out += len(existing)
                coming = [call for call in calls.values() if call.id not in existing]
                await self._store([LlmCallWrite(call) for call in coming])
                new.update(call.id for call in coming)
                self.counts[llm_calls.name] += len(coming)
        async with aclosing(self._rows(llm_call_payloads)) as batches_of_payloads:
            async for rows in batches_of_payloads:
                payloads = [_payload(row) for row in rows if row["callId"] in new]

                async def store(connection: AsyncConnection, payloads: list[dict[str, Any]] = payloads) -> None:
                    statement = self._database.dialect.insert(llm_call_payloads)
                    await connection.execute(statement.on_conflict_do_nothing(), payloads)

                if payloads:
                    await self._writer.submit(store)
                self.counts[llm_call_payloads.name] += len(payloads)

    async def _store(self, writes: list[LlmCallWrite]) -> None:
        async def store(connection: AsyncConnection) -> None:
            await usage_writes.store(connection, self._database.dialect, writes)

        if writes:
            await self._writer.submit(store)

    async def _existing(self, ids: Collection[str]) -> set[str]:
        """The ids of those calls that exist."""
        async with self._database.read() as connection:
            return set((await connection.execute(select(llm_calls.c.id).where(llm_calls.c.id.in_(ids)))).scalars())

    async def _calls(
        self, source_id: str, user_id: str, thread_ids: Collection[str]
    ) -> AsyncGenerator[dict[str, LlmCall], None]:
        """The calls by their ids, in batches."""
        async with aclosing(self._rows(llm_calls)) as batches:
            async for rows in batches:
                if any(row["userId"] != source_id for row in rows):
                    raise InvalidRecord("the takeout contains calls of another user")
                yield {row["id"]: _call(row, user_id, thread_ids) for row in rows}

    async def _rows(self, table: Table) -> AsyncGenerator[list[dict[str, Any]], None]:
        async with aclosing(self._archive.lines(lines_name("", table))) as batches:
            async for batch in batches:
                yield [checked_row(table, row) for row in batch]


def _call(row: dict[str, Any], user_id: str, thread_ids: Collection[str]) -> LlmCall:
    # A key belongs to one installation.
    call = replace(call_of(row), user_id=user_id, key_id=None)
    return clean_call(call if call.thread_id in thread_ids else replace(call, thread_id=None, step_id=None))


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row["messages"], list | None):
        raise InvalidRecord("the messages of a payload are not a list")
    # Retention deletes payloads by this time.
    return row | {"createdAt": clean_time(row["createdAt"], "time of a payload")}
