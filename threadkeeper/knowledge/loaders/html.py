"""Loads the main text of an HTML page, as Markdown."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken, cut
from threadkeeper.knowledge.loaders.text import text_of

# `<!DOCTYPE html>` and the names of older versions declare nothing; an internal subset or an entity does.
_DECLARATION = re.compile(r"<!doctype[^>\[]*\[|<!entity", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_HEAD_BYTES = 4096


class HtmlLoader:
    name: ClassVar[str] = "html"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        from trafilatura import bare_extraction, html2txt  # noqa: PLC0415  what is read, is imported
        from trafilatura.settings import Document  # noqa: PLC0415

        # It logs each page of which it takes little.
        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
        page = _text(data, taken)
        if _DECLARATION.search(page):
            raise Refused("unsafe")
        found = bare_extraction(
            page, favor_recall=True, include_comments=False, include_tables=True, include_formatting=True
        )
        text, title = (found.text, found.title) if isinstance(found, Document) else (None, None)
        yield LoadedDocument(cut(text or html2txt(page), options, taken), title=title)


def _text(data: bytes, taken: Taken) -> str:
    declared = _CHARSET.search(data[:_HEAD_BYTES])
    if declared is not None:
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # The declaration is wrong, so the encoding is guessed as for any other text.
    return text_of(data, taken)
