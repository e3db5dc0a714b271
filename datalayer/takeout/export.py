"""Exports a takeout: all data of one user in one ZIP, in readable formats, which `import_` can import completely.

Rows are read in pages and files in chunks, so that only the names of the entries are kept in memory. The password is
left out.
"""

import asyncio
import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, Table, and_, func, or_, select

from datalayer.blobs import BlobStore, OpenBlob
from datalayer.cleaning import clean_text, utc_now
from datalayer.database import Database
from datalayer.errors import AlreadyExists, BlobNotFound, NotFound
from datalayer.history.users import get as get_user
from datalayer.records.chat import User
from datalayer.schema.chat import elements, steps, threads, users
from datalayer.schema.usage import llm_call_payloads, llm_calls
from datalayer.takeout.assistants import owned_by
from datalayer.takeout.format import (
    FILE,
    FORMAT,
    IN_A_THREAD,
    MANIFEST,
    THREAD,
    USER,
    VERSION,
    VOTES,
    is_damaged,
    lines_name,
    readable,
    stored_columns,
)
from datalayer.takeout.prompts import prompts_of

_PAGE = 100
# A fixed time makes two takeouts of the same data identical; a ZIP cannot store an earlier one.
_MOMENT = (1980, 1, 1, 0, 0, 0)


@dataclass(slots=True)
class TakeoutReport:
    """The number of exported rows by table (`files` among them), the keys of files that are missing in the store, and
    the keys of files that differ from their rows."""

    counts: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    file_bytes: int = 0


async def export_user(
    database: Database,
    blobs: BlobStore | None,
    identifier: str,
    to: Path,
    *,
    progressed: Callable[[TakeoutReport], None] = lambda _report: None,
) -> TakeoutReport:
    """Write the user's takeout into a new file, completely or not at all.

    Args:
        blobs: without a store the takeout has no files.
        progressed: called after each thread.

    Raises:
        NotFound: the user does not exist.
        AlreadyExists: the file exists already.
        BlobError: a file cannot be read. A missing file is left out and a damaged one is included; both are reported.
        OSError: the file cannot be written.
    """
    user = await database.query(lambda connection: get_user(connection, clean_text(identifier)))
    if user is None:
        raise NotFound(f"there is no user {clean_text(identifier)!r}")
    part = to.with_name(f"{to.name}.part")
    try:
        file = await asyncio.to_thread(_begin, part, to)
        with file, zipfile.ZipFile(file, "w") as archive:
            report = await _Export(database, blobs, user, archive, progressed).write()
            archive.close()
            await asyncio.to_thread(_finish, file, part, to)
    except AlreadyExists:
        raise
    except BaseException:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108  nothing to wait for
        raise
    return report


def _begin(part: Path, to: Path) -> BinaryIO:
    if to.exists():
        raise AlreadyExists(f"the file {to} exists already")
    return os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


def _finish(file: BinaryIO, part: Path, to: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    part.replace(to)


class _Export:
    def __init__(
        self,
        database: Database,
        blobs: BlobStore | None,
        user: User,
        archive: zipfile.ZipFile,
        progressed: Callable[[TakeoutReport], None],
    ) -> None:
        self._database, self._blobs = database, blobs
        self._user_id, self._identifier = user.id, user.identifier
        self._zip = archive
        self._entries: dict[str, dict[str, Any]] = {}
        self._progressed = progressed
        self._report = TakeoutReport()

    async def write(self) -> TakeoutReport:
        theirs = or_(threads.c.userId == self._user_id, threads.c.userIdentifier == self._identifier)
        listed = []
        async with self._database.read() as connection:
            row = (await connection.execute(select(users).where(users.c.id == self._user_id))).mappings()
            await self._object(USER, {name: value for name, value in row.one().items() if name != users.c.nameKey.name})
        async for thread in self._rows(threads, func.coalesce(threads.c.createdAt, ""), theirs):
            self._report.counts[threads.name] += 1
            day = str(thread["createdAt"] or "")[:10]
            title = readable(f"{day} {thread['name'] or ''}", "thread")
            folder = f"threads/{self._report.counts[threads.name]:05} {title}/"
            listed.append({"id": thread["id"], "folder": folder})
            await self._thread(folder, thread)
            self._progressed(self._report)
        for table, moment in VOTES.items():
            not_in_theirs = table.c.threadId.not_in(select(threads.c.id).where(theirs))
            await self._lines("", table, moment, and_(table.c.userId == self._user_id, not_in_theirs))
        their_calls = llm_calls.c.userId == self._user_id
        await self._lines("", llm_calls, llm_calls.c.requestedAt, their_calls)
        of_their_calls = llm_call_payloads.c.callId.in_(select(llm_calls.c.id).where(their_calls))
        await self._lines("", llm_call_payloads, llm_call_payloads.c.createdAt, of_their_calls)
        for table, moment, chosen in (*owned_by(self._user_id), *prompts_of(self._user_id)):
            await self._lines("", table, moment, chosen)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "exportedAt": utc_now(),
            "user": {"id": self._user_id, "identifier": self._identifier},
            "counts": dict(sorted(self._report.counts.items())),
            "missingFiles": self._report.missing,
            "damagedFiles": self._report.damaged,
            "threads": listed,
            "entries": self._entries,
        }
        await self._object(MANIFEST, manifest)
        return self._report

    async def _thread(self, folder: str, thread: Mapping[str, Any]) -> None:
        await self._object(folder + THREAD, thread)
        of_steps = elements.c.forId.in_(select(steps.c.id).where(steps.c.threadId == thread["id"]))
        for table, moment in IN_A_THREAD.items():
            here = table.c.threadId == thread["id"]
            if table is elements:
                here = or_(here, and_(table.c.threadId.is_(None), of_steps))
                # Files come before the lines that name their entries, because a ZIP is written one entry at a time.
                names = await self._files(folder, moment, here)
                await self._lines(folder, table, moment, here, names)
            else:
                await self._lines(folder, table, moment, here)

    async def _files(self, folder: str, moment: ColumnElement[str], here: ColumnElement[bool]) -> dict[str, str]:
        """Write the files; returns the names of their entries by element id."""
        names: dict[str, str] = {}
        async for element in self._rows(elements, moment, here):
            key = element["objectKey"]
            if key is None or self._blobs is None:
                continue
            try:
                blob = await self._blobs.open(key)
            except BlobNotFound:
                self._report.missing.append(key)
                continue
            name = f"{folder}files/{len(names) + 1:05} {readable(element['name'], 'file')}"
            # Uncompressed: most files are compressed already, and an uncompressed entry is no ZIP bomb.
            size = await self._entry(name, _chunks(blob), zipfile.ZIP_STORED)
            if is_damaged(element, size, self._entries[name]["sha256"]):
                self._report.damaged.append(key)
            self._report.file_bytes += size
            self._report.counts["files"] += 1
            names[element["id"]] = name
        return names

    async def _lines(
        self,
        folder: str,
        table: Table,
        moment: ColumnElement[str],
        here: ColumnElement[bool],
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Write the rows as lines; without rows no entry is written."""
        rows = self._rows(table, moment, here)
        first = await anext(rows, None)
        if first is None:
            return

        async def lines() -> AsyncIterator[bytes]:
            row: Mapping[str, Any] | None = first
            while row is not None:
                self._report.counts[table.name] += 1
                yield _json(dict(row) if files is None else {**row, FILE: files.get(row["id"])}) + b"\n"
                row = await anext(rows, None)

        await self._entry(lines_name(folder, table), lines(), zipfile.ZIP_DEFLATED)

    async def _rows(
        self, table: Table, moment: ColumnElement[str], here: ColumnElement[bool]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The rows in pages, in order of time."""
        key = next(iter(table.primary_key))
        statement = select(table, moment.label("its moment")).where(here).order_by(moment, key).limit(_PAGE)
        page = statement
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(page)).mappings().all()
            for row in rows:
                yield {column.name: row[column.name] for column in stored_columns(table)}
            if len(rows) < _PAGE:
                return
            then, last = rows[-1]["its moment"], rows[-1][key.name]
            page = statement.where(or_(moment > then, and_(moment == then, key > last)))

    async def _object(self, name: str, value: Mapping[str, Any]) -> None:
        async def whole() -> AsyncIterator[bytes]:
            yield json.dumps(value, ensure_ascii=False, indent=1).encode()

        await self._entry(name, whole(), zipfile.ZIP_DEFLATED)

    async def _entry(self, name: str, chunks: AsyncIterator[bytes], compression: int) -> int:
        info = zipfile.ZipInfo(name, _MOMENT)
        info.compress_type = compression
        info.external_attr = 0o600 << 16
        digest, size = hashlib.sha256(), 0
        # The size is not known yet, so each entry has 64-bit sizes.
        with self._zip.open(info, "w", force_zip64=True) as entry:
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(entry.write, chunk)
        self._entries[name] = {"size": size, "sha256": digest.hexdigest()}
        return size


async def _chunks(blob: OpenBlob) -> AsyncIterator[bytes]:
    async with blob:
        async for chunk in blob:
            yield chunk


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_exactly).encode()


def _exactly(value: Any) -> str:
    """Decimals as text, because JSON numbers are read as floats, which are not exact."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"a takeout cannot contain a {type(value).__name__}")
