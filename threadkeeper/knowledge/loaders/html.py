"""Loads the main text of an HTML page, as Markdown."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken, cut
from threadkeeper.knowledge.loaders.definitions import keep_definitions
from threadkeeper.knowledge.loaders.list_numbers import keep_numbers
from threadkeeper.knowledge.loaders.text import text_of

if TYPE_CHECKING:
    from lxml.html import HtmlElement  # type: ignore[import-untyped]

# `<!DOCTYPE html>` and the names of older versions declare nothing; an internal subset or an entity does.
_DECLARATION = re.compile(r"<!doctype[^>\[]*\[|<!entity", re.IGNORECASE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_HEAD_BYTES = 4096
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "summary")
# trafilatura leaves these out with their text within a paragraph, an item or a cell: dates, results, checklists.
_IN_A_LINE = ("time", "output", "label", "meter", "progress", "slot")


class HtmlLoader:
    name: ClassVar[str] = "html"
    version: ClassVar[int] = 6

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        from trafilatura import bare_extraction, html2txt  # noqa: PLC0415  what is read, is imported
        from trafilatura.settings import Document  # noqa: PLC0415
        from trafilatura.utils import load_html  # noqa: PLC0415

        # It logs each page of which it takes little.
        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
        page = _text(data, taken)
        if _DECLARATION.search(page):
            raise Refused("unsafe")
        tree = load_html(page)
        if tree is None:
            raise Refused("without_text")
        # trafilatura gives a title only together with authors and dates, which it takes long to guess.
        title = " ".join((tree.findtext(".//title") or "").split()) or None
        _keep_captions(tree)
        for element in [*tree.iter(*_IN_A_LINE)]:
            element.tag = "span"
        keep_numbers(tree)
        keep_definitions(tree)
        found = bare_extraction(
            tree, favor_recall=True, include_comments=False, include_tables=True, include_formatting=True
        )
        text = found.text if isinstance(found, Document) else None
        yield LoadedDocument(cut(text or html2txt(page), options, taken), title=title)


def _text(data: bytes, taken: Taken) -> str:
    # A byte order mark goes before what the page declares, as in browsers.
    declared = None if data.startswith(codecs.BOM_UTF8) else _CHARSET.search(data[:_HEAD_BYTES])
    if declared is not None:
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # The declaration is wrong, so the encoding is guessed as for any other text.
    return text_of(data, taken)


def _keep_captions(page: HtmlElement) -> None:
    """Make text of what trafilatura leaves out although it says what follows is about: the question on a button that
    opens its answer, the captions of pictures and tables, the legends of groups."""
    for button in [*page.iter("button")]:
        if any(parent.tag in _HEADINGS for parent in button.iterancestors()):
            button.tag = "span"
        elif button.get("aria-expanded") is not None and button.get("role") != "tab":
            button.tag = "h4"
        else:
            # On a short page, a button makes trafilatura fall back to a text without headings, paragraphs and tables.
            button.drop_tree()
    for legend in page.iter("legend"):
        legend.tag = "h4"
    for group in page.iter("fieldset"):
        group.tag = "div"
    for caption in [*page.iter("figcaption")]:
        caption.tag = "p"
        for parent in caption.iterancestors("figure"):
            parent.tag = "div"
    for caption in [*page.iter("caption")]:
        table = caption.getparent()
        if table is not None and table.tag == "table":
            caption.drop_tree()
            caption.tag, caption.tail = "p", None
            table.addprevious(caption)
