"""Chooses the loader of a file by its bytes. The name decides only between formats of text."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from threadkeeper.documents.decoding import decode
from threadkeeper.documents.kinds import document_kind
from threadkeeper.documents.worker.archive import entry_of, open_archive
from threadkeeper.knowledge.loaders.base import Loader, Refused

SourceKind = Literal["file", "pairs", "datasheet", "url", "api"]
"""What its bytes are to a data source: a text (`file`, `url`), questions and answers, a table of which each row is a
document, or the answers of an API of which each record is one."""

LoadKind = SourceKind | Literal["columns"]
"""What is loaded of a file: its documents, or the names of the columns of a datasheet."""

_HTML = re.compile(
    rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b"
)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b|(?:\xef\xbb\xbf)?\s*<!DOCTYPE", re.IGNORECASE)
_SAMPLE_BYTES = 64 * 1024
_JSON_EXTENSIONS = (".json", ".jsonl", ".ndjson", ".geojson")
_HTML_EXTENSIONS = (".html", ".htm", ".xhtml")
_RICH_TEXT = b"{\\rtf"
_CSV_EXTENSIONS = (".csv", ".tsv")
_MARKDOWN_EXTENSIONS = (".md", ".markdown")


VERSIONS = {
    "api": 1,
    "columns": 1,
    "csv": 3,
    "datasheet": 3,
    "html": 6,
    "json": 1,
    "markdown": 1,
    "opendocument": 1,
    "pairs": 3,
    "pdf": 3,
    "text": 1,
    "word": 2,
    "workbook": 1,
}
"""The versions of the loaders, without importing them. A test compares."""


def is_current(loader: str) -> bool:
    """Whether a loader, as stored with its version ("pdf 1"), would give the same documents today."""
    name, _, version = loader.partition(" ")
    return version == str(VERSIONS.get(name))


def loader_for(kind: LoadKind, name: str, data: bytes) -> Loader:
    """The loader of a file. Raises Refused("unsupported") if there is none."""
    if not data.strip():
        raise Refused("without_text")
    if kind == "pairs":
        from threadkeeper.knowledge.loaders.pairs import PairsLoader  # noqa: PLC0415  what is read, is imported

        return PairsLoader()
    if kind == "api":
        from threadkeeper.knowledge.loaders.api import ApiLoader  # noqa: PLC0415

        return ApiLoader()
    form = document_kind(data)
    if kind in ("datasheet", "columns"):
        if form == "pdf" or (form == "archive" and not _is_workbook(data)):
            raise Refused("unsupported")
        from threadkeeper.knowledge.loaders.columns import ColumnsLoader  # noqa: PLC0415
        from threadkeeper.knowledge.loaders.datasheet import DatasheetLoader  # noqa: PLC0415

        return DatasheetLoader() if kind == "datasheet" else ColumnsLoader()
    if form == "pdf":
        from threadkeeper.knowledge.loaders.pdf import PdfLoader  # noqa: PLC0415

        return PdfLoader()
    if form == "compound":
        return _compound(data)
    return _of_archive(data) if form == "archive" else _of_text(name, data)


def _compound(data: bytes) -> Loader:
    """The loader of a workbook of Excel before 2007, the only compound file that is taken."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise Refused("encrypted")
    if not any(name.encode("utf-16-le") in data for name in ("Workbook", "Book")):
        raise Refused("unsupported")
    from threadkeeper.knowledge.loaders.sheets import WorkbookLoader  # noqa: PLC0415

    return WorkbookLoader()


def _is_workbook(data: bytes) -> bool:
    archive = open_archive(data)
    if b"manifest:encryption-data" in entry_of(archive, "META-INF/manifest.xml"):
        raise Refused("encrypted")
    mimetype = entry_of(archive, "mimetype").decode("ascii", "replace").strip()
    is_excel = any(name.startswith("xl/workbook") for name in archive.namelist())
    return is_excel or mimetype.startswith("application/vnd.oasis.opendocument.spreadsheet")


def _of_archive(data: bytes) -> Loader:
    if _is_workbook(data):
        from threadkeeper.knowledge.loaders.sheets import WorkbookLoader  # noqa: PLC0415

        return WorkbookLoader()
    names = open_archive(data).namelist()
    from threadkeeper.knowledge.loaders.word import OpenDocumentLoader, WordLoader  # noqa: PLC0415

    if any(name.startswith("word/document") for name in names):
        return WordLoader()
    if "content.xml" in names and "mimetype" in names:
        return OpenDocumentLoader()
    raise Refused("unsupported")


def _of_text(name: str, data: bytes) -> Loader:
    if decode(data) is None or data.startswith(_RICH_TEXT):
        raise Refused("unsupported")
    extension = PurePath(name).suffix.lower()
    # A part of a page has no element that tells it.
    if _HTML.match(data[:_SAMPLE_BYTES]) or extension in _HTML_EXTENSIONS:
        from threadkeeper.knowledge.loaders.html import HtmlLoader  # noqa: PLC0415

        return HtmlLoader()
    if _XML.match(data[:_SAMPLE_BYTES]):
        # XML is taken as text, and not parsed; one that declares something was meant for a parser.
        if re.search(rb"(?i)<!doctype|<!entity", data):
            raise Refused("unsafe")
    elif extension in _JSON_EXTENSIONS:
        from threadkeeper.knowledge.loaders.json_text import JsonLoader  # noqa: PLC0415

        return JsonLoader()
    if extension in _CSV_EXTENSIONS:
        from threadkeeper.knowledge.loaders.sheets import CsvLoader  # noqa: PLC0415

        return CsvLoader()
    from threadkeeper.knowledge.loaders.text import MarkdownLoader, TextLoader  # noqa: PLC0415

    return MarkdownLoader() if extension in _MARKDOWN_EXTENSIONS else TextLoader()
