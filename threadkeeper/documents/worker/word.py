"""Reads the text of a Word document as Markdown: headings, lists, tables and notes.

mammoth's own Markdown has no tables, so its HTML is converted. It takes a second for 40,000 characters, so that what is
behind the limit is cut off before.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring, tostring

import mammoth
from markdownify import MarkdownConverter

from threadkeeper.documents.worker.archive import entry_of
from threadkeeper.documents.worker.reading import Reading, Refused
from threadkeeper.documents.worker.word_body import W, needs_rewriting, rewrite
from threadkeeper.documents.worker.word_numbering import numbered_clauses

_BODY = "word/document.xml"
_WORDS = re.compile(rb"<w:t[ >]")


class _Converter(MarkdownConverter):
    def convert_input(self, el: Any, text: str, parent_tags: set[str]) -> str:  # noqa: ARG002  the names are given
        """mammoth makes an input of a box, ticked or not."""
        return "\u2612" if el.get("checked") is not None else "\u2610"


def read_word(archive: zipfile.ZipFile, data: bytes, *, max_characters: int) -> Reading:
    """Raises Refused, or what mammoth raises for a broken file."""
    body = entry_of(archive, _BODY)
    prepared, total = _prepared(archive, body, data, max_characters)
    html = mammoth.convert_to_html(
        io.BytesIO(prepared),
        convert_image=mammoth.images.img_element(lambda _image: {"src": ""}),
        include_embedded_style_map=False,
        external_file_access=False,
    ).value
    text = _Converter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img"],
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
        # Without the tag, 10⁶ would be the number 106.
        sup_symbol="<sup>",
    ).convert(html)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if not text:
        raise Refused("without_text")
    reading = Reading(text[:max_characters], max(len(text), total))
    names = archive.namelist()
    reading.leave_out("part_clause_numbers", numbered_clauses(archive, body))
    reading.leave_out("part_pictures", len(re.findall(rb"<(?:a:blip|v:imagedata)[ />]", body)))
    reading.leave_out("part_charts", sum(name.startswith("word/charts/chart") for name in names))
    reading.leave_out("part_formulas", len(re.findall(rb"<m:oMath[ >]", body)))
    reading.leave_out("part_comments", len(re.findall(rb"<w:comment ", entry_of(archive, "word/comments.xml"))))
    reading.leave_out("part_embedded", sum(name.startswith("word/embeddings/") for name in names))
    margins = [name for name in names if re.fullmatch(r"word/(header|footer)\d*\.xml", name)]
    reading.leave_out("part_margins", sum(bool(_WORDS.search(entry_of(archive, name))) for name in margins))
    return reading


def _prepared(archive: zipfile.ZipFile, body: bytes, data: bytes, max_characters: int) -> tuple[bytes, int]:
    """The document for mammoth, without the paragraphs and rows behind the limit, and the characters that it had; 0 if
    all are in it."""
    is_long, rewritten = len(body) >= max_characters, needs_rewriting(body)
    if not is_long and not rewritten:
        return data, 0
    try:
        root = fromstring(body)  # noqa: S314  a DOCTYPE was refused before
    except ParseError:
        raise Refused("broken") from None
    total = sum(len(text.text or "") for text in root.iter(f"{W}t"))
    is_long = total > max_characters
    if is_long:
        for parent in [*root.iter(f"{W}body"), *root.iter(f"{W}tbl")]:
            _cut(parent, max_characters)
    elif not rewritten:
        return data, 0
    rewrite(root)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name in archive.namelist():
            target.writestr(name, tostring(root) if name == _BODY else archive.read(name))
    return made.getvalue(), total if is_long else 0


def _cut(parent: Element, room: int) -> None:
    """Remove the children behind the first `room` characters. The child in which they end stays."""
    for child in list(parent):
        if room <= 0:
            parent.remove(child)
        room -= sum(len(text.text or "") for text in child.iter(f"{W}t"))
