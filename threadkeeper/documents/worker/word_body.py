"""Rewrites the body of a Word document for mammoth, which leaves out elements that it does not know with their text."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_REWRITTEN = re.compile(rb"<w:(?:fldSimple|dir|bdo|ruby|ddList|vMerge|cr|ptab)[ />]|<w:br [^>]*w:type=")
# A field with a stored result (a caption's number, a property), a direction of writing, a base with its reading above.
_LEFT_OUT = {f"{W}{name}" for name in ("fldSimple", "dir", "bdo", "ruby", "rubyBase")}
_READ = f"{W}smartTag"
"""An element of which mammoth takes the content."""
# What stands between two words. mammoth knows a line break and a tab, and joins the words at each of these.
_SEPARATORS = {f"{W}cr": f"{W}br", f"{W}ptab": f"{W}tab"}
_LONGEST_REPEATED = 200
"""Characters of a merged cell. The text of a longer one is in its first row alone."""


def needs_rewriting(body: bytes) -> bool:
    return _REWRITTEN.search(body) is not None


def rewrite(root: Element) -> None:
    """Keep the text of elements that mammoth leaves out, and make a cell of each row of a merged cell."""
    for element in root.iter():
        if element.tag in _LEFT_OUT:
            element.tag = _READ
        element.tag = _SEPARATORS.get(element.tag, element.tag)
        if element.tag == f"{W}br":
            # The end of a page or a column within a paragraph.
            element.attrib.pop(f"{W}type", None)
    for paragraph in root.iter(f"{W}p"):
        _write_choices(paragraph)
    for table in root.iter(f"{W}tbl"):
        _divide_merged_cells(table)


def _write_choices(paragraph: Element) -> None:
    """Write what was chosen in the drop-down lists of a form, of which the file has the number alone."""
    for run in paragraph.iter(f"{W}r"):
        for choices in run.findall(f"{W}fldChar/{W}ffData/{W}ddList"):
            chosen = choices.find(f"{W}result")
            if chosen is None:
                chosen = choices.find(f"{W}default")
            number = "0" if chosen is None else chosen.get(f"{W}val", "0")
            entries = [one.get(f"{W}val", "") for one in choices.findall(f"{W}listEntry")]
            if number.isdecimal() and int(number) < len(entries):
                SubElement(run, f"{W}t").text = entries[int(number)]


def _divide_merged_cells(table: Element) -> None:
    """Repeat the text of a cell in each row over which it goes: in Markdown, the rest of these rows would move left."""
    above: dict[int, Element] = {}
    for row in table.findall(f"{W}tr"):
        column, now = 0, dict[int, Element]()
        for cell in row.findall(f"{W}tc"):
            merge = cell.find(f"{W}tcPr/{W}vMerge")
            if merge is not None and merge.get(f"{W}val", "continue") == "restart":
                now[column] = cell
            elif merge is not None and column in above:
                now[column] = above[column]
                _repeat(above[column], cell)
            span = cell.find(f"{W}tcPr/{W}gridSpan")
            width = "1" if span is None else span.get(f"{W}val", "1")
            column += int(width) if width.isdecimal() else 1
        above = now


def _repeat(first: Element, cell: Element) -> None:
    """Make `cell` a cell of its own, with the text of the one with which it is merged."""
    for child in list(cell):
        cell.remove(child)
    paragraphs = ("".join(one.text or "" for one in paragraph.iter(f"{W}t")) for paragraph in first.iter(f"{W}p"))
    text = " ".join(filter(None, paragraphs))
    run = SubElement(SubElement(cell, f"{W}p"), f"{W}r")
    SubElement(run, f"{W}t").text = text if len(text) <= _LONGEST_REPEATED else ""
