r"""Rewrites Markdown for Chainlit's page, so that it shows as formulas what `recognition` finds, and nothing else.

The page (remark-math) takes every text between two dollars for a formula and drops the backslash of `\(`. What is
stored stays as it came: only the text on its way to the page is rewritten. `public/page/copying.js` undoes it when an
answer is copied, so each of these spellings has one meaning:

- `&#0036;` is a dollar that is text,
- `$$$…$$$` is `\(…\)`, and as a block `\[…\]`; with `\displaystyle` in front it is `\[…\]` in a line,
- `$$$$…$$$$` is a formula between single dollars that contains a dollar,
- a word joiner separates formulas that touch.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.common.html_re import close_tag, open_tag
from markdown_it.token import Token

from threadkeeper.formulas.recognition import Formula, Paragraph
from threadkeeper.formulas.rules import BLOCK, BRACKETS, formula_rules

DOLLAR = "&#0036;"
_MAY_CHANGE = re.compile(r"\$|\\[(\[]")
# What can change the meaning of a dollar before it: the end of a formula, of code, of a line or a tag; a table.
_DECIDES = re.compile(r"[$\\`~\n|:>-]")
_UNDECIDED = ("$", "\\", "\\]")
# Beside formulas and dollars, what the page does not read as text: escaped characters, code, tags and links.
_LINKS = r"<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*>|(?<![A-Za-z])https?://[^\s<]*|(?<![^\s*_~(\[])www\.[^\s<]*"
NOT_PROSE = rf"\\.|`+|\$+|{_LINKS}|{open_tag}|{close_tag}"
"""A pattern for what begins beside plain text in a paragraph; for DOTALL and IGNORECASE."""
_MARK = re.compile(NOT_PROSE, re.DOTALL | re.IGNORECASE)
_BESIDE = "\u2060"
_NOT_A_PREFIX = re.compile(r"[^>\s]")


def for_page(text: str) -> str:
    """The text as Chainlit's page must get it."""
    if not _MAY_CHANGE.search(text):
        return text
    lines = text.split("\n")
    return "\n".join(_rewritten(lines, _blocks(lines), 0, len(lines)))


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Where the paragraphs, headings and rows of tables of a text begin and end, with the marks of lists and quotes."""
    lines = text.split("\n")
    begins = list(accumulate((len(line) + 1 for line in lines), initial=0))
    done = 0
    for block in _blocks(lines):
        if block.type == "inline" and block.map and block.map[0] >= done:
            first, done = block.map
            yield begins[first], begins[done] - 1


class PageText:
    """The text of an answer that grows, as Chainlit's page must get it.

    At any moment, what was given to the page is `for_page` of the text so far.
    """

    def __init__(self) -> None:
        self._closed = ""
        self._open = ""
        self._shown = ""
        # How much of the open text has nothing that may change.
        self._plain = 0

    def add(self, text: str) -> tuple[str, bool]:
        """What to send to the page for this new text: more text (False), or the whole text again (True)."""
        was_undecided = self._open.rstrip(" \t").endswith(_UNDECIDED)
        self._open += text
        if not self._may_change() or not (was_undecided or _DECIDES.search(text)):
            self._shown += text
            return text, False
        before = self._shown
        closed = self._rewrite()
        if self._shown.startswith(before):
            more, is_whole = self._shown[len(before) :], False
        else:
            more, is_whole = self._closed + self._shown, True
        self._closed += closed
        self._shown = self._shown[len(closed) :]
        return more, is_whole

    def _may_change(self) -> bool:
        if _MAY_CHANGE.search(self._open, self._plain):
            return True
        # A backslash at the end may become the beginning of a formula.
        self._plain = max(len(self._open) - 1, 0)
        return False

    def _rewrite(self) -> str:
        """Rewrite the open blocks; returns those that no later text can change, which are not read again."""
        lines = self._open.split("\n")
        blocks = _blocks(lines)
        starts = (block.map[0] for block in reversed(blocks) if block.level == 0 and block.map)
        # Without an empty line between, the last block may still become a part of the one before.
        last = next((start for start in starts if start and not lines[start - 1].strip()), 0)
        closed = "".join(f"{line}\n" for line in _rewritten(lines, blocks, 0, last))
        self._open, self._plain = "\n".join(lines[last:]), 0
        self._shown = closed + "\n".join(_rewritten(lines, blocks, last, len(lines)))
        return closed


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    formula_rules(markdown)
    return markdown


def _blocks(lines: Sequence[str]) -> list[Token]:
    markdown, blocks = _markdown(), list[Token]()
    source = "\n".join(line.removesuffix("\r") for line in lines)
    markdown.block.parse(source.replace("\0", "\ufffd"), markdown, {}, blocks)
    return blocks


def _rewritten(lines: Sequence[str], blocks: Sequence[Token], begin: int, end: int) -> Iterator[str]:
    """The lines from `begin` to `end`."""
    done, in_table = begin, False
    for block in blocks:
        if block.type in ("table_open", "table_close"):
            in_table = block.type == "table_open"
        if not block.map or not done <= block.map[0] < end:
            continue
        first, after = block.map
        if block.type == BLOCK and block.markup == BRACKETS:
            yield from lines[done:first]
            yield from _block_in_dollars(lines[first:after])
        elif block.type == ("tr_open" if in_table else "inline"):
            yield from lines[done:first]
            yield _Line("\n".join(lines[first:after]), in_table=in_table).rewritten()
        else:
            continue
        done = after
    yield from lines[done:end]


def _block_in_dollars(lines: Sequence[str]) -> Iterator[str]:
    before, _, first = lines[0].partition(BRACKETS)
    inner = _NOT_A_PREFIX.sub(" ", before)
    content = [first, *lines[1:]]
    content[-1] = content[-1].rpartition("\\]")[0]
    yield before + "$$$"
    for number, line in enumerate(content):
        if line.strip("> \t") or number not in (0, len(content) - 1):
            yield inner + line if number == 0 else line
    yield inner + "$$$"


class _Line:
    """The text of a paragraph, a heading or a row of a table."""

    def __init__(self, text: str, *, in_table: bool) -> None:
        self._text = text
        self._in_table = in_table

    def rewritten(self) -> str:
        return "|".join(self._cell(begin, end) for begin, end in self._cells())

    def _cells(self) -> Iterator[tuple[int, int]]:
        begin = 0
        if self._in_table:
            for mark in re.finditer(r"\\.|\|", self._text):
                if mark[0] == "|":
                    yield begin, mark.start()
                    begin = mark.end()
        yield begin, len(self._text)

    def _cell(self, begin: int, end: int) -> str:
        paragraph = Paragraph(self._text if not self._in_table else self._text[begin:end])
        text, pieces, at = paragraph.text, list[str](), 0
        while (mark := _MARK.search(text, at)) is not None:
            if at < mark.start():
                pieces.append(text[at : mark.start()])
            at = mark.end()
            if mark[0][0] == "`":
                at = paragraph.code_at(mark.start(), len(text)) or at
                pieces.append(text[mark.start() : at])
            elif mark[0][0] == "$" or mark[0] in ("\\(", "\\["):
                formula = paragraph.formula_at(mark.start())
                if formula is not None:
                    at = formula.end
                    touches = bool(pieces) and pieces[-1].endswith("$")
                    pieces.append(_BESIDE * touches + _in_dollars(formula))
                else:
                    pieces.append(mark[0].replace("$", DOLLAR))
            else:
                pieces.append(mark[0])
        return "".join([*pieces, text[at:]])


def _in_dollars(formula: Formula) -> str:
    if formula.delimiter == "$":
        dollars = 4 if formula.dollars == 1 and "$" in formula.tex else formula.dollars
        return f"{'$' * dollars}{formula.tex}{'$' * dollars}"
    style = "\\displaystyle " if formula.delimiter == "[" else ""
    return f"$$${style}{formula.tex}$$$"
