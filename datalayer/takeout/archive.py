"""Reads a takeout that somebody else may have made: what is in the zip is believed when it has been measured.

Nothing is unpacked into a folder, so that no name of an entry leads anywhere; and all is read in pieces, so that no
size that an entry claims takes memory. A takeout is refused before anything of it is used.
"""

import asyncio
import hashlib
import json
import zipfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from datalayer.errors import InvalidRecord
from datalayer.takeout.format import FORMAT, MANIFEST, VERSION

_CHUNK_BYTES = 1024 * 1024
_LONGEST_LINE = 64 * 1024 * 1024
_LARGEST_MANIFEST = 256 * 1024 * 1024
_LINES_AT_ONCE = 100
# Texts shrink to a tenth; what shrinks to a two-hundredth and is large is a bomb.
_MOST_SHRUNK = 200
_SMALL_BYTES = 16 * 1024 * 1024
_ENCRYPTED = 0x1


class TakeoutArchive:
    """An open takeout whose entries are what its manifest says. `close` it."""

    def __init__(self, path: Path) -> None:
        """Look at the list of entries and at the manifest.

        Raises:
            InvalidRecord: it is no takeout, or one that is not to be trusted.
            OSError: the file cannot be read.
        """
        with _understood():
            self._zip = zipfile.ZipFile(path)
        try:
            self._entries = self._checked_entries(path.stat().st_size)
            self.manifest = self._checked_manifest()
        except BaseException:
            self._zip.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def sha256(self, name: str) -> str:
        """What the manifest says of the entry."""
        return str(self.manifest["entries"][name]["sha256"])

    async def check(self) -> AsyncIterator[int]:
        """Compare every entry with its checksum in the manifest; gives how many bytes each has.

        Raises:
            InvalidRecord: one is not what it was.
        """
        for name, told in self.manifest["entries"].items():
            digest, size = hashlib.sha256(), 0
            async for chunk in self.chunks(name):
                await asyncio.to_thread(digest.update, chunk)
                size += len(chunk)
            if (size, digest.hexdigest()) != (told["size"], told["sha256"]):
                raise InvalidRecord(f"the takeout was changed, or is damaged: {name!r} is not what its manifest says")
            yield size

    async def chunks(self, name: str) -> AsyncGenerator[bytes, None]:
        """The entry's content."""
        with _understood(), self._zip.open(self._entries[name]) as entry:
            while chunk := await asyncio.to_thread(entry.read, _CHUNK_BYTES):
                yield chunk

    def json(self, name: str) -> Any:
        """The whole of an entry that is one JSON value."""
        if name not in self._entries:
            raise InvalidRecord(f"the takeout lacks {name!r}")
        with _understood(), self._zip.open(self._entries[name]) as entry:
            content = entry.read(_LARGEST_MANIFEST + 1)
        if len(content) > _LARGEST_MANIFEST:
            raise InvalidRecord(f"{name!r} of the takeout is too large")
        with _understood():
            return json.loads(content)

    async def lines(self, name: str) -> AsyncGenerator[list[Any], None]:
        """The values in an entry of lines, some at a time; none where there is no such entry."""
        if name not in self._entries:
            return
        with _understood(), self._zip.open(self._entries[name]) as entry:
            values = _values(entry)
            while some := await asyncio.to_thread(lambda: [*islice(values, _LINES_AT_ONCE)]):
                yield some

    def _checked_entries(self, archive_bytes: int) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        packed = 0
        for info in self._zip.infolist():
            name, packed = info.filename, packed + info.compress_size
            # Nothing is written under these names; but whoever unpacks it by hand trusts what was let in here.
            if name.startswith("/") or "\\" in name or ".." in name.split("/") or name in entries:
                raise InvalidRecord(f"the takeout has an entry that no takeout has: {name[:80]!r}")
            if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidRecord(f"the takeout's entry {name[:80]!r} is packed in a way that no takeout is")
            if info.file_size > max(_SMALL_BYTES, info.compress_size * _MOST_SHRUNK):
                raise InvalidRecord(f"the takeout's entry {name[:80]!r} would grow beyond all measure when unpacked")
            entries[name] = info
        if packed > archive_bytes:
            raise InvalidRecord("the takeout's entries lie over each other")
        return entries

    def _checked_manifest(self) -> dict[str, Any]:
        manifest = self.json(MANIFEST) if MANIFEST in self._entries else None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InvalidRecord("this is no takeout: it has no manifest of one")
        if manifest.get("version") != VERSION:
            raise InvalidRecord(
                f"this takeout has the form of version {manifest.get('version')!r}, and version {VERSION} is known here"
            )
        with _understood():
            told = {name: (entry["size"], entry["sha256"]) for name, entry in manifest["entries"].items()}
            if not all(isinstance(thread["id"] + thread["folder"], str) for thread in manifest["threads"]):
                raise TypeError
        found = self._entries.keys() - {MANIFEST}
        if odd := sorted(found ^ told.keys()):
            raise InvalidRecord(f"the takeout's manifest and its entries differ: {odd[0][:80]!r}")
        return manifest


def _values(entry: Any) -> Iterator[Any]:
    while line := entry.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise InvalidRecord("the takeout has a line that is too long")
        yield json.loads(line)


@contextmanager
def _understood() -> Iterator[None]:
    """What cannot be read or understood becomes an error of ours."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRecord("this is no takeout, or it is damaged: its JSON makes no sense") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidRecord(f"this is no takeout, or it is damaged: {error}") from None
