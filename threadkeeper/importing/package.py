"""An export as named entries: the entries of ZIP files, or one file. It comes from an untrusted source.

Nothing is unpacked, so the name of an entry cannot lead to another path. Entries are read in chunks, and a JSON array
one record at a time, so memory does not depend on the size of the export.
"""

import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

import ijson

from threadkeeper.importing.reasons import Unread

MOST_ENTRIES = 200_000
MOST_BYTES = 64 * 1024**3
"""Of all entries together, unpacked."""
LARGEST_RECORD = 64 * 1024 * 1024
"""Bytes of one conversation, which is whole in memory."""
LARGEST_OBJECT = 64 * 1024 * 1024
DEEPEST = 3_000
"""Levels of JSON within each other. A message of LibreChat's nested form is two."""
# The parser keeps the names above each open level: that many bytes of them at most.
_MOST_PATHS = 64 * 1024 * 1024
# Of a ZIP's list of entries, which `zipfile` has whole in memory: a third of a kilobyte for each.
_MOST_LISTED = 64 * 1024 * 1024
_ENTRY_MARK = b"PK\x01\x02"
# With which a ZIP begins.
_ZIP_MARK = b"PK\x03\x04"
_ZIP64_END = 76
_LOOKED_AT = 2 * 1024 * 1024
_DEEPEST_PATH = 5
# Text shrinks to about a tenth. A large entry that shrinks to a two-hundredth is a ZIP bomb.
_MOST_SHRUNK = 200
_SMALL_BYTES = 16 * 1024 * 1024
_ENCRYPTED = 0x1
_BOM = b"\xef\xbb\xbf"
# In the messages of ijson's parsers.
_ENDS_EARLY = re.compile("premature|incomplete", re.IGNORECASE)
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NO_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])

_Entry: TypeAlias = Path | tuple[zipfile.ZipFile, zipfile.ZipInfo]
Shape: TypeAlias = frozenset[str]
"""The paths of the keys at the beginning of a JSON file, as in `item.mapping`; `item` is a record of an array."""


class BadPackage(Unread):
    """The file cannot be read, or is not safe to read."""


class Package:
    """The entries of an export. Call `close` after use."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open the files and check the lists of their entries.

        Raises:
            BadPackage: one is not safe to read, or damaged.
            OSError: one cannot be read.
        """
        self._archives: list[zipfile.ZipFile] = []
        self._entries: dict[str, _Entry] = {}
        self._as_arrays: set[str] = set()
        self._same_names: Counter[tuple[str, str]] = Counter()
        try:
            for path in paths:
                with readable(path.name):
                    is_archive = zipfile.is_zipfile(path)
                if is_archive:
                    self._add_archive(path)
                else:
                    with path.open("rb") as stream:
                        if stream.read(len(_ZIP_MARK)) == _ZIP_MARK:
                            raise BadPackage("import_reason_cut_zip")
                    self._add(path.name, path, path.parent.name)
            self._check_total()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for archive in self._archives:
            archive.close()

    @cached_property
    def names(self) -> list[str]:
        """The names of the entries, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def size(self, name: str) -> int:
        """The bytes of the entry, unpacked."""
        found = self._entries[name]
        return found.stat().st_size if isinstance(found, Path) else found[1].file_size

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The entry as a stream, without a byte order mark.

        Raises:
            BadPackage: it is damaged.
        """
        found = self._entries[name]
        with readable(name), found.open("rb") if isinstance(found, Path) else found[0].open(found[1]) as stream:
            yield stream

    def with_base_name(self, base: str) -> list[str]:
        """The entries of this name, whatever their folders; one for each file of an export that consists of several."""
        return [name for name in self.names if PurePosixPath(name).name == base]

    @cached_property
    def by_base_name(self) -> dict[str, str]:
        """The entries by their names without folders; the first of those with the same one."""
        found: dict[str, str] = {}
        for name in self.names:
            found.setdefault(PurePosixPath(name).name, name)
        return found

    @cached_property
    def by_last_parts(self) -> dict[str, str]:
        """The entries by their names without folders but the last one; the first of those with the same one."""
        found: dict[str, str] = {}
        for name in self.names:
            found.setdefault("/".join(name.rsplit("/", 2)[-2:]), name)
        return found

    @property
    def is_markup(self) -> bool:
        """Whether it is one file that begins as a web page does."""
        if len(self._entries) != 1:
            return False
        with self.open(self.names[0]) as stream:
            return _without_bom(stream.read(1024)).lstrip()[:1] == b"<"

    def read_as_array(self, name: str) -> None:
        """From now on, `records` gives the values of this entry, one behind another, as those of an array: of a
        conversation that was exported alone, or of one a line."""
        self._as_arrays.add(name)

    def check_record(self, names: Iterable[str]) -> None:
        """Of one conversation that is in several entries: of those that exist.

        Raises:
            BadPackage: together they are too large.
        """
        if sum(self.size(name) for name in names if name in self) > LARGEST_RECORD:
            raise BadPackage("import_reason_large_rows", most=LARGEST_RECORD // 1024**2)

    def records(self, name: str, prefix: str = "item", *, several: bool = False) -> Iterator[Any]:
        """The records of a JSON file at this prefix, one at a time. `several`: the file has one value behind another.

        Raises:
            BadPackage: the rest of the file cannot be read.
        """
        if name in self._as_arrays and prefix == "item":
            prefix, several = "", True
        with self.open(name) as stream:
            counted = _Counted(stream, LARGEST_RECORD)
            for record in ijson.items(counted, prefix, use_float=True, multiple_values=several):
                counted.start_again()
                yield record

    def lines(self, name: str) -> Iterator[Any]:
        """The values of an entry of JSON lines; none if it does not exist.

        Raises:
            BadPackage: a line cannot be read.
        """
        if name in self._entries:
            yield from self.records(name, "", several=True)

    def object(self, name: str) -> Any:
        """A small JSON file as a whole.

        Raises:
            BadPackage: it cannot be read, or is too large.
        """
        if self.size(name) > LARGEST_OBJECT:
            raise BadPackage("import_reason_large_file", name=name, most=LARGEST_OBJECT // 1024**2)
        return next(self.records(name, ""), None)

    def shape(self, name: str) -> Shape:
        """The shape of an entry; empty if it does not begin as JSON does. It can have some megabytes."""
        paths: set[str] = set()
        try:
            with self.open(name) as stream:
                start = _without_bom(stream.read(1024)).lstrip()[:1]
            if start not in (b"{", b"["):
                return frozenset()
            with self.open(name) as stream:
                for prefix, event, value in ijson.parse(_Beginning(stream, _LOOKED_AT), buf_size=16 * 1024):
                    if event == "map_key" and prefix.count(".") < _DEEPEST_PATH:
                        paths.add(f"{prefix}.{value}" if prefix else str(value))
        except BadPackage:
            # The beginning ends within a value, or the file is damaged, of which its reader tells.
            pass
        return frozenset(paths)

    def fault(self, name: str) -> BadPackage | None:
        """Why the beginning of this JSON file cannot be read; None if it can."""
        try:
            with self.open(name) as stream:
                for _ in ijson.basic_parse(_Beginning(stream, _LOOKED_AT), multiple_values=True):
                    pass
        except BadPackage as error:
            # That the beginning ends within a value is no fault.
            is_cut = self.size(name) > _LOOKED_AT and _ENDS_EARLY.search(str(error))
            return None if is_cut else error
        return None

    def _add_archive(self, path: Path) -> None:
        with readable(path.name):
            _check_list(path)
            archive = zipfile.ZipFile(path)
        self._archives.append(archive)
        packed = 0
        for info in archive.infolist():
            # Some programs on Windows write its separators.
            name, packed = info.filename.replace("\\", "/"), packed + info.compress_size
            shown = ascii(name[:80])
            if name.startswith("/") or ".." in name.split("/"):
                raise BadPackage("import_reason_entry_name", name=shown)
            if info.flag_bits & _ENCRYPTED:
                raise BadPackage("import_reason_entry_encrypted", name=shown)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadPackage("import_reason_entry_method", name=shown)
            if info.file_size > max(_SMALL_BYTES, info.compress_size * _MOST_SHRUNK):
                raise BadPackage("import_reason_entry_expands", name=shown)
            if not info.is_dir():
                self._add(name, (archive, info), path.name)
        if packed > path.stat().st_size:
            raise BadPackage("import_reason_entries_overlap")

    def _add(self, name: str, found: _Entry, origin: str) -> None:
        """Entries of several files may have the same name: to later ones, that of their file is added."""
        shown = name
        while shown in self._entries:
            self._same_names[name, origin] += 1
            number = self._same_names[name, origin]
            shown = f"{origin}/{name}" if number == 1 else f"{origin} {number}/{name}"
        self._entries[shown] = found

    def _check_total(self) -> None:
        if len(self._entries) > MOST_ENTRIES:
            raise BadPackage("import_reason_many_entries", most=MOST_ENTRIES)
        if sum(map(self.size, self._entries)) > MOST_BYTES:
            raise BadPackage("import_reason_large_export", most=MOST_BYTES // 1024**3)


def _check_list(path: Path) -> None:
    """Refuse a ZIP with too many entries before `zipfile` makes objects of them.

    The number at the end of their list may be a lie, so the marks in the list are counted, too.
    """
    with path.open("rb") as stream:
        # What ZipFile itself reads, with the numbers of ZIP64 if there are any: another reading could be deceived.
        end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
        if end is None:
            return
        entries, size, at = end[4], end[5], end[9]
        if max(entries - MOST_ENTRIES, size - _MOST_LISTED) <= 0:
            # The end of ZIP64 lies between the list and the end.
            stream.seek(max(at - size - _ZIP64_END, 0))
            entries = stream.read(size + _ZIP64_END).count(_ENTRY_MARK)
            if entries <= MOST_ENTRIES:
                return
    raise BadPackage("import_reason_many_entries", most=MOST_ENTRIES)


class _Levelled:
    """A stream without its byte order mark. Values that are nested too deeply end the reading."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._is_first = stream, True
        self._levels = _Levels()

    def _followed(self, chunk: bytes) -> bytes:
        self._levels.follow(chunk)
        if self._is_first and chunk:
            self._is_first, chunk = False, _without_bom(chunk)
        return chunk


class _Counted(_Levelled):
    """A record that is too large ends the reading, too."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        super().__init__(stream)
        self._most, self._count = most, 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._count += len(chunk)
        if self._count > self._most:
            raise BadPackage("import_reason_large_record", most=self._most // 1024**2)
        return self._followed(chunk)

    def start_again(self) -> None:
        self._count = 0


class _Beginning(_Levelled):
    """The first bytes of a stream."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        super().__init__(stream)
        self._left = size

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(chunk)
        return self._followed(chunk)


class _Levels:
    """Counts the open levels of JSON by the brackets outside of its strings, because ijson has no limit.

    ijson keeps for each open level all names above it, so a small file of many levels, or of some with a long name,
    would take all memory. A pass over the bytes costs a third of the parsing; events in Python cost two times it.
    """

    def __init__(self) -> None:
        self._depth = 0
        # Whether the chunk before ended within a string, and the bytes of that string so far.
        self._is_within, self._length = False, 0
        # The bytes of a string at the end of it, which is a name if a colon follows.
        self._ended = 0
        self._escape = b""
        self._longest_name = len("item")

    def follow(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            BadPackage: they are nested too deeply.
        """
        text = (self._escape + chunk).replace(rb"\\", b"__").replace(rb"\"", b"__")
        self._escape = b"\\" if text.endswith(b"\\") else b""
        parts = text.removesuffix(b"\\").split(b'"')
        if self._is_within:
            parts.insert(0, b"")
        elif first := parts[0].lstrip()[:1]:
            self._longest_name = max(self._longest_name, self._ended if first == b":" else 0)
            self._ended = 0
        # Every second part is a string now.
        length, before = 0, self._length
        for at in range(1, len(parts), 2):
            length, before = before + len(parts[at]), 0
            if length > self._longest_name and at + 1 < len(parts) and parts[at + 1].lstrip()[:1] == b":":
                self._longest_name = length
        self._is_within = len(parts) % 2 == 0
        self._length = length if self._is_within else 0
        if len(parts) > 1:
            self._ended = 0 if self._is_within or parts[-1].strip() else length
        brackets = b"".join(parts[::2]).translate(None, _NO_BRACKETS)
        opened = brackets.count(b"[") + brackets.count(b"{")
        most = min(DEEPEST, math.isqrt(2 * _MOST_PATHS // self._longest_name))
        # Most chunks need no look at their brackets one by one.
        depths = accumulate(map(_STEPS.__getitem__, brackets), initial=self._depth)
        if self._depth + opened > most and max(depths) > most:
            raise BadPackage("import_reason_deep")
        self._depth += 2 * opened - len(brackets)


def _without_bom(chunk: bytes) -> bytes:
    return chunk.removeprefix(_BOM)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Raise BadPackage for errors of the ZIP and of its JSON."""
    try:
        yield
    except ijson.JSONError as error:
        raise BadPackage("import_reason_not_json", name=name, detail=_line(error)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise BadPackage("import_reason_damaged", name=name, detail=_line(error)) from None


def _line(error: Exception) -> str:
    """The words of an error in one line. Those of ijson have some of the file, which may move a terminal's cursor."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(error)).split()).rstrip(".")
