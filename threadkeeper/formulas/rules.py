r"""Rules of markdown-it for formulas: in a line by `recognition`; as a block after `$$` like a fence, and in `\[…\]`.

markdown-it-py's plugin for this recognises other texts as formulas, and scans to the end of the text for each unclosed
one: half a minute for the longest text that is rendered here.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from threadkeeper.formulas.recognition import Paragraph, run_at

IN_LINE, BLOCK, DISPLAYED = "math_inline", "math_block", "math_displayed"
BRACKETS = "\\["
"""The markup of a block in brackets; that of others are dollars."""

_OPENS = re.compile(r"(\${2,})([^$\n]*)")
_CLOSES = re.compile(r"(\${2,})[ \t]*")
# `\\\\]` is a line break of TeX before a bracket.
_CLOSING = re.compile(r"((?:[^\\]|\\[^\]])*)\\\]")
_CLOSING_LINE = re.compile(_CLOSING.pattern + r"[ \t]*")
# A formula in brackets has no more lines: the search for its end is repeated for each line that begins with a bracket.
_MOST_LINES = 40


def formula_rules(markdown: MarkdownIt) -> None:
    """Add the rules. They produce tokens of the types `IN_LINE`, `DISPLAYED` (in a line, in brackets) and `BLOCK`.

    The content of a token is the formula.
    """
    markdown.inline.ruler.before("escape", IN_LINE, _in_line)
    for rule, name in ((_dollar_block, BLOCK), (_bracket_block, "math_brackets")):
        markdown.block.ruler.before("fence", name, rule, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def _in_line(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "$" and state.src[state.pos : state.pos + 2] not in ("\\(", "\\["):
        return False
    known: dict[str, Paragraph] = state.env.setdefault("paragraphs", {})
    paragraph = known.setdefault(state.src, Paragraph(state.src))
    formula = paragraph.formula_at(state.pos, state.posMax)
    if formula is None:
        if state.src[state.pos] == "\\":
            return False
        run = run_at(state.src, state.pos, state.posMax)
        if not silent:
            state.pending += "$" * run
        state.pos += run
        return True
    if not silent:
        token = state.push(DISPLAYED if formula.delimiter == "[" else IN_LINE, "math", 0)
        token.content = formula.tex
    state.pos = formula.end
    return True


def _dollar_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    opening = _OPENS.fullmatch(state.src, *_line(state, start))
    if opening is None:
        return False
    if silent:
        return True
    at, is_closed = start + 1, False
    while at < end and not is_closed:
        begins, ends = _line(state, at)
        if begins < ends and state.sCount[at] < state.blkIndent:
            break
        closing = None if state.is_code_block(at) else _CLOSES.fullmatch(state.src, begins, ends)
        is_closed = closing is not None and len(closing[1]) >= len(opening[1])
        at += 1
    lines = state.getLines(start + 1, at - is_closed, state.sCount[start], True)
    _push(state, opening[2] + "\n" + lines, opening[1], start, at)
    return True


def _bracket_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""`\[` at the beginning of a line, and `\]` at the end of this or a later line, without an empty line between."""
    begins, ends = _line(state, start)
    if state.is_code_block(start) or not state.src.startswith(BRACKETS, begins, ends):
        return False
    lines = [state.src[begins + 2 : ends]]
    at = start + 1
    while not (close := _CLOSING_LINE.fullmatch(lines[-1])):
        if _CLOSING.match(lines[-1]) or at >= min(end, start + _MOST_LINES):
            return False
        begins, ends = _line(state, at)
        if begins >= ends or state.sCount[at] < state.blkIndent:
            return False
        lines.append(state.src[begins:ends])
        at += 1
    lines[-1] = close[1]
    if not "".join(lines).strip():
        return False
    if not silent:
        _push(state, "\n".join(lines), BRACKETS, start, at)
    return True


def _push(state: StateBlock, content: str, markup: str, start: int, end: int) -> None:
    token = state.push(BLOCK, "math", 0)
    token.content, token.markup, token.block, token.map = content, markup, True, [start, end]
    state.line = end


def _line(state: StateBlock, number: int) -> tuple[int, int]:
    return state.bMarks[number] + state.tShift[number], state.eMarks[number]
