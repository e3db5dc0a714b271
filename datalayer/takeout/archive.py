"""Reads a takeout from an untrusted source. Everything is checked before anything is used.

Nothing is unpacked into a folder, so that the name of an entry cannot lead to another path. Entries are read in chunks,
so that memory does not depend on the sizes that the ZIP claims.
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
# Text shrinks to about a tenth. A large entry that shrinks to a two-hundredth is a ZIP bomb.
_MOST_SHRUNK = 200
_SMALL_BYTES = 16 * 1024 * 1024
_ENCRYPTED = 0x1
_SAYS_FORMAT_WITHIN = 4096


def is_takeout(path: Path) -> bool:
    """Whether the file says that it is a takeout. It may be a damaged one.

    Raises:
        OSError: the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        # A missing file raises.
        path.open("rb").close()
        return False
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as manifest:
            return f'"{FORMAT}"'.encode() in manifest.read(_SAYS_FORMAT_WITHIN)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False


class TakeoutArchive:
    """An open takeout with a checked list of entries and manifest. Call `close` after use."""

    def __init__(self, path: Path) -> None:
        """Open the ZIP and check the list of entries and the manifest.

        Raises:
            InvalidRecord: the file is not a takeout, or not a safe one.
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
        """Close the file."""
        self._zip.close()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def sha256(self, name: str) -> str:
        """The SHA-256 of the entry in the manifest, in hexadecimal."""
        return str(self.manifest["entries"][name]["sha256"])

    async def check(self) -> AsyncIterator[int]:
        """Compare every entry with its size and checksum in the manifest; yields the size of each in bytes.

        Raises:
            InvalidRecord: an entry differs from the manifest.
        """
        for name, listed in self.manifest["entries"].items():
            digest, size = hashlib.sha256(), 0
            async for chunk in self.chunks(name):
                await asyncio.to_thread(digest.update, chunk)
                size += len(chunk)
            if (size, digest.hexdigest()) != (listed["size"], listed["sha256"]):
                raise InvalidRecord(f"the takeout was changed or is damaged: {name!r} differs from its manifest")
            yield size

    async def chunks(self, name: str) -> AsyncGenerator[bytes, None]:
        """The content of the entry, in chunks of at most 1 MiB."""
        with _understood(), self._zip.open(self._entries[name]) as entry:
            while chunk := await asyncio.to_thread(entry.read, _CHUNK_BYTES):
                yield chunk

    def json(self, name: str) -> Any:
        """The value of an entry that is one JSON document."""
        if name not in self._entries:
            raise InvalidRecord(f"the takeout lacks {name!r}")
        with _understood(), self._zip.open(self._entries[name]) as entry:
            content = entry.read(_LARGEST_MANIFEST + 1)
        if len(content) > _LARGEST_MANIFEST:
            raise InvalidRecord(f"{name!r} of the takeout is too large")
        with _understood():
            return json.loads(content)

    async def lines(self, name: str) -> AsyncGenerator[list[Any], None]:
        """The values of an entry of JSON lines, in batches; none if the entry does not exist."""
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
            # Nothing is written under these names here, but people may unpack an imported takeout by hand.
            if name.startswith("/") or "\\" in name or ".." in name.split("/") or name in entries:
                raise InvalidRecord(f"the takeout has an entry with a forbidden or repeated name: {name[:80]!r}")
            if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidRecord(
                    f"the takeout's entry {name[:80]!r} is encrypted or compressed with an unsupported method"
                )
            if info.file_size > max(_SMALL_BYTES, info.compress_size * _MOST_SHRUNK):
                raise InvalidRecord(f"the takeout's entry {name[:80]!r} expands too much when unpacked")
            entries[name] = info
        if packed > archive_bytes:
            raise InvalidRecord("the takeout's entries overlap")
        return entries

    def _checked_manifest(self) -> dict[str, Any]:
        manifest = self.json(MANIFEST) if MANIFEST in self._entries else None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise InvalidRecord("this is not a takeout: it has no manifest")
        if manifest.get("version") != VERSION:
            raise InvalidRecord(
                f"this takeout has the format version {manifest.get('version')!r}; only {VERSION} can be imported"
            )
        with _understood():
            listed = {name: (entry["size"], entry["sha256"]) for name, entry in manifest["entries"].items()}
            if not all(isinstance(thread["id"] + thread["folder"], str) for thread in manifest["threads"]):
                raise TypeError
        found = self._entries.keys() - {MANIFEST}
        if odd := sorted(found ^ listed.keys()):
            raise InvalidRecord(f"the takeout's manifest and its entries differ: {odd[0][:80]!r}")
        return manifest


def _values(entry: Any) -> Iterator[Any]:
    while line := entry.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise InvalidRecord("the takeout has a line that is too long")
        yield json.loads(line)


@contextmanager
def _understood() -> Iterator[None]:
    """Raise InvalidRecord for errors of the ZIP and of its contents."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRecord("this is not a takeout, or it is damaged: its JSON is not valid") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidRecord(f"this is not a takeout, or it is damaged: {error}") from None
