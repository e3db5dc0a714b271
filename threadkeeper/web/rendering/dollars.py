"""Formulas between dollars in Markdown, as in the chat's page (remark-math): `$` like `` ` ``, `$$` like a fence.

markdown-it-py's plugin for this recognises other texts as formulas, and scans to the end of the text for each unclosed
one: half a minute for the longest text that is rendered here.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

IN_LINE, BLOCK = "math_inline", "math_block"

_RUN = re.compile(r"\$+")
_OPENS = re.compile(r"(\${2,})([^$\n]*)")
_CLOSES = re.compile(r"(\${2,})[ \t]*")


def dollars(markdown: MarkdownIt) -> None:
    """Add the rules. They produce tokens of the types `IN_LINE` and `BLOCK` with the formula as content."""
    markdown.inline.ruler.after("escape", IN_LINE, _in_line)
    markdown.block.ruler.before("fence", BLOCK, _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def _in_line(state: StateInline, silent: bool) -> bool:
    opening = _RUN.match(state.src, state.pos, state.posMax)
    if opening is None:
        return False
    length = len(opening[0])
    # Positions of the last run of each length: an unclosed one is recognised without a scan.
    last = state.env.setdefault("last_dollars", {})
    if state.src not in last:
        last[state.src] = {len(one[0]): one.start() for one in _RUN.finditer(state.src)}
    closing = None
    if last[state.src].get(length, -1) > opening.start():
        runs = _RUN.finditer(state.src, opening.end(), state.posMax)
        closing = next((one for one in runs if len(one[0]) == length), None)
    if closing is None:
        if not silent:
            state.pending += opening[0]
        state.pos = opening.end()
        return True
    if not silent:
        token = state.push(IN_LINE, "math", 0)
        token.content = state.src[opening.end() : closing.start()]
    state.pos = closing.end()
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
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
    token = state.push(BLOCK, "math", 0)
    lines = state.getLines(start + 1, at - is_closed, state.sCount[start], True)
    token.content, token.block, token.map = opening[2] + "\n" + lines, True, [start, at]
    state.line = at
    return True


def _line(state: StateBlock, number: int) -> tuple[int, int]:
    return state.bMarks[number] + state.tShift[number], state.eMarks[number]
