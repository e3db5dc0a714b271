"""Rules of Markdown for Chinese, Japanese and Korean text, which has no spaces between words."""

import re
from collections.abc import Callable
from typing import Any
from unicodedata import category

from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.common.utils import isWhiteSpace
from markdown_it.rules_inline import StateInline, emphasis, strikethrough

# Not the middle dot: it stands inside of titles, also in addresses.
_ENDS_OF_ADDRESS = re.compile("[、。〃〈-】〔-〟！＂＇（），．：；？［］｛｜｝～-､“”‘’…—]")
# Han, kana, bopomofo, hangul, and full-width letters and digits.
_LETTER = re.compile(
    "[々-〇ぁ-ヺー-ヿㄅ-ㄯㆠ-ㆿㇰ-ㇿ㐀-䶿一-\u9fff豈-\ufaff\U00020000-\U0003ffff"
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f가-\ud7ff０-９Ａ-Ｚａ-ｚｦ-\uffdc]"
)
_FULL_WIDTH_MARK = re.compile("[、-〃〈-】〔-〟！-／：-＠［-｀｛-､]")
_ENDS_A_CLAUSE = "，。、；：！？,.;:!?"


class LinkFinder(LinkifyIt):  # type: ignore[misc]
    """Finds bare URLs; a URL ends before full-width punctuation.

    A Chinese word right after a URL stays a part of it, as in the addresses of the Chinese Wikipedia.
    """

    def match_at_start(self, text: str) -> Any:
        """The link at the start of the text, or None."""
        link = super().match_at_start(text)
        if link and (end := _ENDS_OF_ADDRESS.search(text, link.index, link.last_index)):
            # A second search, because the shorter text may end with a full stop, which is no part of the URL.
            return super().match_at_start(text[: end.start()])
        return link


def emphasis_beside_letters(markdown: MarkdownIt) -> None:
    """Let `**`, `*` and `~~` begin and end beside punctuation where a letter follows without a space.

    CommonMark demands a space or punctuation outside of asterisks that have punctuation inside, so `**退款：**请` would
    not be bold. Here a CJK letter outside is enough, and for two asterisks full-width punctuation inside.
    Text without CJK characters is read as by CommonMark.
    https://spec.commonmark.org/0.31.2/#left-flanking-delimiter-run
    """
    markdown.inline.ruler.at("emphasis", _beside_letters(emphasis.tokenize))
    markdown.inline.ruler.at("strikethrough", _beside_letters(strikethrough.tokenize))


def _beside_letters(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    def relaxed(state: StateInline, silent: bool) -> bool:
        start, known = state.pos, len(state.delimiters)
        if not rule(state, silent):
            return False
        # Underscores stand inside of names.
        if state.src[start] != "_" and start > 0 and state.pos < state.posMax:
            before, after, length = state.src[start - 1], state.src[state.pos], state.pos - start
            for delimiter in state.delimiters[known:]:
                delimiter.open = delimiter.open or (_may_begin(after) and _is_outside(before, after, length))
                delimiter.close = delimiter.close or (_may_end(before) and _is_outside(after, before, length))
        return True

    return relaxed


def _is_outside(outer: str, inner: str, length: int) -> bool:
    if isWhiteSpace(ord(outer)):
        return False
    return bool(_LETTER.match(outer) or (length > 1 and _FULL_WIDTH_MARK.match(inner)))


def _may_begin(inner: str) -> bool:
    return not isWhiteSpace(ord(inner)) and category(inner) not in ("Pe", "Pf") and inner not in _ENDS_A_CLAUSE


def _may_end(inner: str) -> bool:
    return not isWhiteSpace(ord(inner)) and category(inner) not in ("Ps", "Pi")
