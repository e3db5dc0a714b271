"""Reads a document from standard input, and writes a `Reading` as JSON to standard output.

A broken file ends the process with a traceback and exit status 1.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from threadkeeper.documents.worker.limits import limit
from threadkeeper.documents.worker.reading import Reading, Refused

_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")


def read(kind: str, data: bytes, *, max_pages: int, max_characters: int) -> Reading:
    """The text of a document. `kind`: "pdf", "archive" (a zip archive) or "compound" (OLE, as of Excel before 2007)."""
    if kind == "pdf":
        from threadkeeper.documents.worker.pdf import read_pdf  # noqa: PLC0415  what is read, is imported

        return read_pdf(data, max_pages=max_pages, max_characters=max_characters)
    if kind == "compound":
        if _ENCRYPTED_PACKAGE in data:
            raise Refused("encrypted")
        if not any(name.encode("utf-16-le") in data for name in ("Workbook", "Book")):
            raise Refused("unsupported")
        from threadkeeper.documents.worker.sheets import read_sheets  # noqa: PLC0415

        return read_sheets(data, max_characters=max_characters)
    return _read_archive(data, max_characters)


def _read_archive(data: bytes, max_characters: int) -> Reading:
    from threadkeeper.documents.worker.archive import entry_of, open_archive  # noqa: PLC0415

    archive = open_archive(data)
    names = archive.namelist()
    mimetype = entry_of(archive, "mimetype").decode("ascii", "replace").strip()
    if b"manifest:encryption-data" in entry_of(archive, "META-INF/manifest.xml"):
        raise Refused("encrypted")
    if any(name.startswith("word/document") for name in names):
        from threadkeeper.documents.worker.word import read_word  # noqa: PLC0415

        return read_word(archive, data, max_characters=max_characters)
    if any(name.startswith("xl/workbook") for name in names) or mimetype.startswith(
        "application/vnd.oasis.opendocument.spreadsheet"
    ):
        from threadkeeper.documents.worker.sheets import read_sheets  # noqa: PLC0415

        return read_sheets(data, max_characters=max_characters, archive=archive)
    if mimetype.startswith("application/vnd.oasis.opendocument.") and "content.xml" in names:
        from threadkeeper.documents.worker.opendocument import read_opendocument  # noqa: PLC0415

        return read_opendocument(archive, max_characters=max_characters)
    raise Refused("unsupported")


def main() -> None:
    """Arguments: kind, seconds of CPU time, maximum of pages, maximum of characters."""
    kind, seconds, max_pages, max_characters = sys.argv[1:]
    data = sys.stdin.buffer.read()
    limit(float(seconds))
    try:
        reading = read(kind, data, max_pages=int(max_pages), max_characters=int(max_characters))
    except Refused as refusal:
        reading = Reading(refused=refusal.refusal)
    except (MemoryError, RecursionError):
        reading = Reading(refused="unsafe")
    # ASCII, because some fonts give lone surrogates, which UTF-8 cannot encode.
    sys.stdout.buffer.write(json.dumps(asdict(reading)).encode("ascii"))
