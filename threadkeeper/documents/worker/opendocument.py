"""Reads the text of an OpenDocument text or presentation: headings, lists, tables, slides and notes.

The text is the content of `content.xml` in order, which needs no library. Format: OpenDocument 1.3, part 3.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, fromstring

from threadkeeper.documents.worker.archive import entry_of
from threadkeeper.documents.worker.reading import Reading, Refused

_NAMESPACE = re.compile(r"\{urn:oasis:names:tc:opendocument:xmlns:([a-z]+)[^}]*\}(.+)")
_LEFT_OUT = {
    "drawing:image": "part_pictures",
    "drawing:object": "part_embedded",
    "drawing:object-ole": "part_embedded",
    "office:annotation": "part_comments",
}
# What was deleted while changes were tracked, and what a field or an index repeats.
_SKIPPED = {"text:tracked-changes", "text:sequence-decls", "office:forms", "text:note-citation", "office:scripts"}
_SPACES = {"text:tab": "\t", "text:line-break": "\n"}
_BLOCKS = {"text:p", "text:h"}


def read_opendocument(archive: zipfile.ZipFile, *, max_characters: int) -> Reading:
    """Raises Refused."""
    try:
        root = fromstring(entry_of(archive, "content.xml"))  # noqa: S314  a DOCTYPE was refused before
    except ParseError:
        raise Refused("broken") from None
    left_out: Counter[str] = Counter()
    text = re.sub(r"\n{3,}", "\n\n", "\n\n".join(_blocks(root, left_out))).strip()
    if not text:
        raise Refused("without_text")
    reading = Reading(text[:max_characters], len(text))
    for what in sorted(left_out):
        reading.leave_out(what, left_out[what])
    styles = entry_of(archive, "styles.xml")
    margins = re.findall(rb"<style:(?:header|footer)[ >].*?</style:(?:header|footer)>", styles, re.DOTALL)
    reading.leave_out("part_margins", sum(bool(re.search(rb">[^<\s]", one)) for one in margins))
    return reading


def _blocks(element: Element, left_out: Counter[str]) -> Iterator[str]:
    """The paragraphs, headings, list items and table rows below an element."""
    for child in element:
        name = _name(child)
        if name in _SKIPPED:
            continue
        if name in _LEFT_OUT:
            left_out[_LEFT_OUT[name]] += 1
        elif name in _BLOCKS:
            line = _line(child, left_out).strip()
            if line and name == "text:h":
                line = f"{'#' * min(max(int(_attribute(child, 'outline-level') or 1), 1), 6)} {line}"
            yield line
            yield from _framed(child, left_out)
        elif name == "text:list-item":
            yield "\n".join(f"{'- ' if at == 0 else '  '}{block}" for at, block in enumerate(_blocks(child, left_out)))
        elif name == "table:table":
            yield "\n".join(_rows(child, left_out))
        elif name == "drawing:page":
            yield f"[{_attribute(child, 'name') or 'Slide'}]"
            yield from _blocks(child, left_out)
        elif name == "presentation:notes":
            notes = [block for block in _blocks(child, left_out) if block]
            if notes:
                yield "[Notes]"
                yield from notes
        else:
            yield from _blocks(child, left_out)


def _rows(table: Element, left_out: Counter[str]) -> Iterator[str]:
    for row in table.iter():
        if _name(row) == "table:table-row":
            cells = [cell for cell in row if _name(cell) in ("table:table-cell", "table:covered-table-cell")]
            texts = (" ".join(" ".join(_blocks(cell, left_out)).split()) for cell in cells)
            yield f"| {' | '.join(texts)} |"


def _line(element: Element, left_out: Counter[str]) -> str:
    """The text of a paragraph, with notes in brackets; frames in it are blocks of their own."""
    parts = [element.text or ""]
    for child in element:
        name = _name(child)
        if name in _LEFT_OUT:
            left_out[_LEFT_OUT[name]] += 1
        elif name == "text:s":
            parts.append(" " * min(int(_attribute(child, "c") or 1), 100))
        elif name in _SPACES:
            parts.append(_SPACES[name])
        elif name == "text:note":
            parts.append(f" [{' '.join(' '.join(_blocks(child, left_out)).split())}]")
        elif name not in _SKIPPED and not name.startswith("drawing:"):
            parts.append(_line(child, left_out))
        parts.append(child.tail or "")
    return "".join(parts)


def _framed(paragraph: Element, left_out: Counter[str]) -> Iterator[str]:
    """The blocks in the frames of a paragraph: text boxes. Pictures are counted."""
    for child in paragraph:
        if _name(child).startswith("drawing:") and _name(child) not in _LEFT_OUT:
            yield from _blocks(child, left_out)
        elif _name(child) == "text:span":
            yield from _framed(child, left_out)


def _name(element: Element) -> str:
    found = _NAMESPACE.match(element.tag)
    return f"{found.group(1)}:{found.group(2)}" if found else element.tag


def _attribute(element: Element, name: str) -> str | None:
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return None
