"""Looks at a zip archive before anything in it is parsed: what it unpacks to, and what its XML declares."""

from __future__ import annotations

import io
import zipfile
import zlib

from threadkeeper.documents.worker.reading import Refused

MOST_ENTRIES = 10_000
MOST_BYTES = 128 * 1024 * 1024
_SMALL_BYTES = 8 * 1024 * 1024
_MOST_RATIO = 100
_PIECE = 1024 * 1024
_XML = (".xml", ".rels", ".vml")


def open_archive(data: bytes) -> zipfile.ZipFile:
    """The archive, after all of it was unpacked once and counted.

    Raises:
        Refused: "unsupported" if it is no archive; "encrypted"; "broken"; "unsafe" if it has too many entries, unpacks
            to too much, or declares a DOCTYPE.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError):
        raise Refused("unsupported") from None
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise Refused("unsafe")
    total = 0
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise Refused("encrypted")
        try:
            total += _counted(archive, entry, total, len(data))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
            raise Refused("broken") from None
    return archive


def entry_of(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry; empty if there is none of this name."""
    return archive.read(name) if name in archive.namelist() else b""


def _counted(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, before: int, packed: int) -> int:
    """The unpacked bytes of the entry, as they are and not as the archive declares them."""
    size, is_xml, tail = 0, entry.filename.lower().endswith(_XML), b""
    with archive.open(entry) as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            total = before + size
            if total > MOST_BYTES or (total > _SMALL_BYTES and total > _MOST_RATIO * packed):
                raise Refused("unsafe")
            if is_xml:
                # UTF-16 puts a NUL beside each of these letters.
                tail = (tail[-16:] + piece).replace(b"\0", b"").upper()
                if b"<!DOCTYPE" in tail or b"<!ENTITY" in tail:
                    raise Refused("unsafe")
    return size
