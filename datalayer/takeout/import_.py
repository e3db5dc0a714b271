"""Imports a takeout, on this installation or another one, with any engine and store.

All checksums are compared, and all rows are read, before anything is stored. Each thread is stored in one transaction,
after its files, so it is whole or absent, and an interrupted import continues with `skip_existing`. Ids are kept. The
caller chooses the user; the takeout determines neither the user nor a role.
"""

import secrets
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.background.file_deleter import FileDeleter
from datalayer.background.search_indexer import SearchIndexer
from datalayer.blobs import BlobStore
from datalayer.cleaning import clean_id, clean_text, utc_in
from datalayer.database import Database
from datalayer.errors import AlreadyExists, InvalidRecord
from datalayer.history import deletion_marks, feedback, file_outbox
from datalayer.history.file_outbox import ABANDONED_AFTER_SECONDS
from datalayer.history.users import add as add_user
from datalayer.history.users import get as get_user
from datalayer.records.chat import User
from datalayer.schema.chat import elements, steps, threads, users
from datalayer.schema.prompts import prompts
from datalayer.schema.review import VERSION_CHANGES, step_versions
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.assistants import AssistantsImport
from datalayer.takeout.calls import CallsImport
from datalayer.takeout.format import FILE, IN_A_THREAD, THREAD, USER, VOTES, checked_row, is_damaged, lines_name
from datalayer.takeout.prompts import import_prompts, read_prompts
from datalayer.writes.queue import Writer
from datalayer.writes.repeats import addition, conditional, repeatable

_AT_ONCE = 500
_BYTES = "application/octet-stream"


@dataclass(slots=True)
class ImportReport:
    """The number of imported rows by table (`files` among them), and what was left out."""

    user: str = ""
    """The name of the user who got the data, as it is stored."""
    asked_user: str = ""
    """The name in the takeout or of the caller; it may differ in case."""
    made_user: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    skipped_threads: int = 0
    """Threads that exist already."""
    left_out_votes: int = 0
    """Votes and their history, of users or in threads that do not exist here."""
    left_out_calls: int = 0
    """Model calls that exist already."""
    left_out_assistants: int = 0
    """Assistants that exist already, or whose slug is in use."""
    left_out_prompts: int = 0
    """Prompts that exist already, whose name the user has, or that are more than a user may have."""
    missing_files: int = 0
    """Elements whose file was missing when the takeout was made."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Files that differ from their rows: their keys here, and their entries in the takeout."""
    checked_bytes: int = 0


async def import_user(
    database: Database,
    blobs: BlobStore | None,
    path: Path,
    *,
    as_user: str | None = None,
    skip_existing: bool = False,
    progressed: Callable[[ImportReport], None] = lambda _report: None,
) -> ImportReport:
    """Import the takeout. The search finds it when this returns.

    Args:
        as_user: the name of the user who gets the data; the name in the takeout by default. A missing user is created
            with the takeout's metadata, without a password, and with the role `user`.
        skip_existing: skip threads that exist already; otherwise one existing thread refuses the whole takeout.
        progressed: called after each checked entry and each thread.

    Raises:
        InvalidRecord: the file is not a takeout, was changed, or has invalid values.
        AlreadyExists: a thread exists already, or an element id is used in another thread.
        BlobError: a file cannot be stored, or no store was given.
        StorageUnavailable: the database is unavailable.
        OSError: the file cannot be read.
    """
    archive = TakeoutArchive(path)
    writer = Writer(database)
    indexer = SearchIndexer(database)
    try:
        work = _Import(database, writer, blobs, archive, progressed)
        try:
            report = await work.run(as_user, skip_existing)
        finally:
            await work.end()
        await indexer.finish()
        return report
    finally:
        archive.close()
        await indexer.stop()
        await writer.close()


class _Import:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        blobs: BlobStore | None,
        archive: TakeoutArchive,
        progressed: Callable[[ImportReport], None],
    ) -> None:
        self._database, self._writer, self._blobs = database, writer, blobs
        self._file_deleter = FileDeleter(database, blobs)
        self._archive = archive
        self._progressed = progressed
        self._report = ImportReport()
        self._used: set[str] = set()

    async def run(self, as_user: str | None, skip_existing: bool) -> ImportReport:
        async for size in self._archive.check():
            self._report.checked_bytes += size
            self._progressed(self._report)
        source = checked_row(users, self._archive.json(USER))
        folders = {clean_id(one["id"], "thread id"): one["folder"] for one in self._archive.manifest["threads"]}
        there = await self._among(threads, list(folders))
        if there and not skip_existing:
            first = min(there)
            raise AlreadyExists(f"{len(there)} of {len(folders)} threads exist already, such as {first}")
        self._source_id = source["id"]
        calls = CallsImport(self._database, self._writer, self._archive)
        owned = AssistantsImport(self._database, self._writer, self._archive)
        await self._check({one: folder for one, folder in folders.items() if one not in there})
        await calls.check(self._source_id)
        await owned.check(self._source_id)
        await read_prompts(self._archive, self._source_id)
        self._user = await self._owner(source, clean_text(as_user or source["identifier"]))
        for thread_id, folder in folders.items():
            if thread_id in there:
                self._report.skipped_threads += 1
            else:
                await self._thread(thread_id, folder)
            self._progressed(self._report)
        await self._votes_elsewhere()
        await calls.run(self._source_id, self._user.id, set(folders))
        self._report.counts.update(calls.counts)
        self._report.left_out_calls = calls.left_out
        await owned.run(self._source_id, self._user.id)
        self._report.counts.update(owned.counts)
        self._report.left_out_assistants = owned.left_out
        kept, left_out = await import_prompts(
            self._database, self._writer, self._archive, self._source_id, self._user.id
        )
        self._report.counts.update({prompts.name: kept} if kept else {})
        self._report.left_out_prompts = left_out
        return self._report

    async def end(self) -> None:
        """Stop deleting files; files that are left stay in the queue of deletions."""
        await self._file_deleter.stop()

    async def _check(self, folders: dict[str, str]) -> None:
        """Read the rows of these threads, and of votes elsewhere, before the first write.

        Raises:
            InvalidRecord: one of them is not valid.
        """
        for thread_id, folder in folders.items():
            self._thread_row(thread_id, folder)
            for table in IN_A_THREAD:
                async with aclosing(self._rows_of(thread_id, folder, table)) as batches:
                    async for _ in batches:
                        pass
        for table in VOTES:
            async with aclosing(self._own_votes(table)) as batches:
                async for _ in batches:
                    pass

    async def _owner(self, source: dict[str, Any], identifier: str) -> User:
        self._report.user = self._report.asked_user = identifier
        found = await self._database.query(lambda connection: get_user(connection, identifier))
        if found is not None:
            self._report.user = found.identifier
            return found
        taken = await self._among(users, [source["id"]])
        record = User(
            id=str(uuid.uuid4()) if taken else source["id"],
            identifier=identifier,
            metadata=source["metadata"] if isinstance(source["metadata"], dict) else {},
            created_at=source["createdAt"],
            disabled_at=source["disabledAt"],
        )
        self._report.made_user = True

        async def add(connection: AsyncConnection) -> User:
            return await add_user(connection, self._database.dialect, record)

        added: User = await self._writer.submit(conditional(add, lambda connection: get_user(connection, identifier)))
        return added

    def _thread_row(self, thread_id: str, folder: str) -> dict[str, Any]:
        thread = checked_row(threads, self._archive.json(folder + THREAD))
        if thread["id"] != thread_id:
            raise InvalidRecord(f"the thread in {folder!r} of the takeout differs from its manifest")
        return thread

    async def _thread(self, thread_id: str, folder: str) -> None:
        thread = self._thread_row(thread_id, folder)
        thread |= {"userId": self._user.id, "userIdentifier": self._user.identifier}
        stored: dict[str, dict[str, Any]] = {}
        try:
            # As with uploads, files are stored before their rows.
            missing = await self._store_files(thread_id, folder, stored)

            async def store(connection: AsyncConnection) -> tuple[Counter[str], int]:
                return await self._store_rows(connection, thread, folder, stored)

            async def is_stored(connection: AsyncConnection) -> bool:
                return bool((await connection.execute(select(threads.c.id).where(threads.c.id == thread_id))).all())

            counts, left_out = await self._writer.submit(repeatable(store, is_stored))
        except BaseException:
            await self._forget(thread_id, stored)
            raise
        self._report.counts.update(counts)
        self._report.counts["files"] += len(stored)
        self._report.left_out_votes += left_out
        self._report.missing_files += missing

    async def _store_rows(
        self, connection: AsyncConnection, thread: dict[str, Any], folder: str, stored: dict[str, dict[str, Any]]
    ) -> tuple[Counter[str], int]:
        """Store the rows in one transaction, which is repeated from the start if its connection is lost."""
        counts: Counter[str] = Counter({threads.name: 1})
        left_out = 0
        # The user wants a deleted thread back.
        await deletion_marks.remove(connection, thread["id"])
        await connection.execute(insert(threads), thread)
        for table in IN_A_THREAD:
            async with aclosing(self._rows_of(thread["id"], folder, table)) as batches:
                async for rows in batches:
                    kept: list[dict[str, Any]] = rows
                    if table is elements:
                        nothing = {"objectKey": None, "byteSize": None, "sha256": None}
                        kept = [row | stored.get(row["id"], nothing) for row in rows]
                    elif table in VOTES:
                        kept = await self._with_voters(connection, rows)
                        left_out += len(rows) - len(kept)
                    elif table is step_versions:
                        # This database assigns new ids.
                        kept = [{name: row[name] for name in row if name != "id"} for row in rows]
                    if kept:
                        await connection.execute(insert(table), kept)
                        counts[table.name] += len(kept)
        await file_outbox.forget(connection, [one["objectKey"] for one in stored.values()])
        # Removed answers have no step, so no trigger marks them.
        await feedback.mark_answers(connection, [thread["id"]])
        return counts, left_out

    def _demand_place(self, table: Table, row: dict[str, Any], thread_id: str) -> None:
        loose = table is elements and row["threadId"] is None
        if row["threadId"] != thread_id and not loose:
            raise InvalidRecord(f"a row of {table.name} in the takeout belongs to another thread")

    async def _rows_of(self, thread_id: str, folder: str, table: Table) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The rows of a thread, in batches."""
        async with aclosing(self._rows(folder, table)) as batches:
            async for rows in batches:
                for row in rows:
                    self._demand_place(table, row, thread_id)
                if table is step_versions and any(row["change"] not in VERSION_CHANGES for row in rows):
                    raise InvalidRecord("a version of a step in the takeout is of an unknown kind")
                yield rows

    async def _rows(self, folder: str, table: Table) -> AsyncGenerator[list[dict[str, Any]], None]:
        async with aclosing(self._archive.lines(lines_name(folder, table))) as batches:
            async for batch in batches:
                if not all(isinstance(row, dict) for row in batch):
                    raise InvalidRecord(f"a row of {table.name} is not a JSON object")
                yield [checked_row(table, {name: row[name] for name in row if name != FILE}) for row in batch]

    async def _with_voters(self, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The votes without a voter, of the user, and of other users who exist here under the same id."""
        others = {row["userId"] for row in rows} - {None, self._source_id}
        here = set()
        if others:
            found = select(users.c.id).where(users.c.id.in_(others))
            here = set((await connection.execute(found)).scalars())
        mapping = {None: None, self._source_id: self._user.id} | {voter: voter for voter in here}
        return [row | {"userId": mapping[row["userId"]]} for row in rows if row["userId"] in mapping]

    async def _store_files(self, thread_id: str, folder: str, stored: dict[str, dict[str, Any]]) -> int:
        """Store the files of the thread's elements, and add key, size and SHA-256 of each to `stored`, by element id.

        Returns the number of files that the takeout lacks.
        """
        missing = 0
        async with aclosing(self._archive.lines(lines_name(folder, elements))) as batches:
            async for batch in batches:
                named = [(row, row.get(FILE)) for row in batch if isinstance(row, dict)]
                rows = [
                    (checked_row(elements, {name: row[name] for name in row if name != FILE}), file)
                    for row, file in named
                ]
                # An element without a thread in its row may have the id of an element in another thread.
                if taken := await self._among(elements, [row["id"] for row, _ in rows]):
                    raise AlreadyExists(f"the element {min(taken)} exists in another thread already")
                for row, file in rows:
                    self._demand_place(elements, row, thread_id)
                    if file is None:
                        missing += row["objectKey"] is not None
                        continue
                    if not self._is_free(file, folder):
                        raise InvalidRecord(f"the element {row['id']} of the takeout has no file of its own")
                    self._used.add(file)
                    await self._store_file(row, file, stored)
        return missing

    def _is_free(self, file: Any, folder: str) -> bool:
        """Whether this is the entry of a file in the thread's folder that no other element uses."""
        within = isinstance(file, str) and file.startswith(f"{folder}files/")
        return within and file in self._archive and file not in self._used

    async def _store_file(self, row: dict[str, Any], file: str, stored: dict[str, dict[str, Any]]) -> None:
        if self._blobs is None:
            raise InvalidRecord("the takeout has files, but no blob store is configured")
        if row["id"] in stored:
            raise InvalidRecord(f"the element {row['id']} is in the takeout twice")
        # A new key: the key in the takeout is not trusted, and may be queued for deletion here.
        key = f"{row['threadId'] or 'nowhere'}/{row['id']}-{secrets.token_hex(4)}"
        stored[row["id"]] = {"objectKey": key}
        due = utc_in(ABANDONED_AFTER_SECONDS)
        await self._writer.submit(lambda connection: file_outbox.announce(connection, key, row["threadId"], due))
        async with aclosing(self._archive.chunks(file)) as chunks:
            blob = await self._blobs.put(key, chunks, row["mime"] or _BYTES, name=row["name"])
        if blob.sha256 != self._archive.sha256(file):
            raise InvalidRecord(f"the takeout was changed while it was read: {file!r}")
        stored[row["id"]] = {"objectKey": key, "byteSize": blob.size, "sha256": blob.sha256}
        if is_damaged(row, blob.size, blob.sha256):
            # The row keeps the size and checksum of the original, so that the damage stays detectable.
            stored[row["id"]].update({name: row[name] for name in ("byteSize", "sha256") if row[name] is not None})
            self._report.damaged[key] = file

    async def _forget(self, thread_id: str, stored: dict[str, dict[str, Any]]) -> None:
        """Delete the files of a thread that was not imported; files that cannot be deleted now are deleted later."""
        if keys := [one["objectKey"] for one in stored.values()]:
            await self._writer.submit(lambda connection: file_outbox.abandon(connection, *keys))
            await self._file_deleter.delete(keys, thread_id)

    async def _votes_elsewhere(self) -> None:
        """Import the user's own votes in threads of others that exist here."""
        for table in VOTES:
            async with aclosing(self._own_votes(table)) as batches:
                async for rows in batches:
                    await self._store_votes(table, rows)

    async def _own_votes(self, table: Table) -> AsyncGenerator[list[dict[str, Any]], None]:
        async with aclosing(self._rows("", table)) as batches:
            async for rows in batches:
                if any(row["userId"] != self._source_id for row in rows):
                    raise InvalidRecord("the takeout contains votes of another user")
                yield rows

    async def _store_votes(self, table: Table, rows: list[dict[str, Any]]) -> None:
        there = await self._among(steps, [row["forId"] for row in rows], steps.c.threadId)
        kept = [row | {"userId": self._user.id} for row in rows if there.get(row["forId"]) == row["threadId"]]

        async def store(connection: AsyncConnection) -> int:
            count = 0
            for row in kept:
                statement = self._database.dialect.insert(table).values(**row).on_conflict_do_nothing()
                count += (await connection.execute(statement)).rowcount
            return count

        if kept:
            change = addition(store, table, [row["id"] for row in kept])
            self._report.counts[table.name] += await self._writer.submit(change)
        self._report.left_out_votes += len(rows) - len(kept)

    async def _among(self, table: Table, ids: Sequence[str], column: Any = None) -> dict[str, Any]:
        """The ids that exist in the table, each with the value of the column."""
        found: dict[str, Any] = {}
        shown = table.c.id if column is None else column
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            statement = select(table.c.id, shown.label("shown")).where(table.c.id.in_(some))
            async with self._database.read() as connection:
                found.update({row[0]: row[1] for row in await connection.execute(statement)})
        return found
