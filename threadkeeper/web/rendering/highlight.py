"""Code in the colours of its language, by classes alone: no style stands on an element, as the pages' policy wants it.

Of Pygments' six hundred languages those have colours that a chat is likely to hold. Each is a set of regular
expressions which meets whatever anybody wrote, so their time is bounded.
"""

import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import pygments
from markdown_it.common.utils import escapeHtml
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_by_name, get_all_lexers
from pygments.styles import get_style_by_name
from pygments.token import STANDARD_TYPES, Error, Whitespace

LONGEST = 10_000
"""Characters of a block; what is longer has no colours. So many of usual code take 10 to 30 ms."""
MOST_SECONDS = 0.2
"""Of the processor, for a block; one that takes longer has no colours. There are languages in which a row of slashes
takes time by the square of its length, five seconds for `LONGEST` of them.
"""
MOST_SECONDS_OF_PAGE = 1.0
"""Of the processor, for all blocks of a page, those included that have no colours in the end; the blocks after that
have none. A page of usual code, 200,000 characters, takes less.
"""
LANGUAGES = (
    *("bash", "bat", "c", "cpp", "csharp", "css", "dart", "diff", "docker", "elixir", "go", "graphql", "haskell"),
    *("html", "ini", "java", "javascript", "json", "jsx", "julia", "kotlin", "latex", "lua", "make", "matlab", "nginx"),
    *("objective-c", "perl", "php", "powershell", "protobuf", "pycon", "python", "r", "ruby", "rust", "scss"),
    *("sql", "swift", "terraform", "toml", "tsx", "typescript", "xml", "yaml"),
)
"""Without Scala: one of its expressions takes twice the time for two more backslashes after a quotation mark, and for
sixty of them hours.
"""
# No time is looked at within one expression, nor does any other thread run. Those of C take time by the square of the
# white space in a row: ten seconds for `LONGEST`, some milliseconds for so much.
_LONG_GAP = re.compile(r"\s{200}")
_LONGEST_NAME = 30
_PREFIX = "hl-"
_LIGHT, _DARK = "default", "github-dark"


@dataclass(slots=True)
class ColourTime:
    """What is left of the processor's time for the blocks of one page, in seconds."""

    left: float = MOST_SECONDS_OF_PAGE


def code_block(code: str, language: str, time_of_page: ColourTime) -> str:
    """A block of code as HTML; the language that its author named is kept with it.

    Args:
        code: what stands in the block.
        language: what its author named, or nothing.
        time_of_page: what the block takes is taken from it.
    """
    named = f' data-language="{escapeHtml(language[:_LONGEST_NAME])}"' if language else ""
    may_have_colours = len(code) <= LONGEST and time_of_page.left > 0 and not _LONG_GAP.search(code)
    known = _names().get(language.lower()) if may_have_colours else None
    coloured = _coloured(code, known, time_of_page) if known else None
    return f"<pre{named}><code>{escapeHtml(code) if coloured is None else coloured}</code></pre>"


def _coloured(code: str, language: str, time_of_page: ColourTime) -> str | None:
    # Its own for each block: some keep what they have met.
    lexer = _lexer(language)(stripnl=False, ensurenl=False)
    started = time.thread_time()
    tokens, until = [], started + min(MOST_SECONDS, time_of_page.left)
    try:
        for token in lexer.get_tokens(code):
            if time.thread_time() > until:
                return None
            tokens.append(token)
        return str(pygments.format(tokens, _formatter()))
    finally:
        time_of_page.left -= time.thread_time() - started


def style_sheet() -> str:
    """The colours of code: light or dark as the reader chose in the chat, else as the system says; light on paper."""
    light, dark = _rules(_LIGHT), _rules(_DARK)
    return (
        f"@media screen and (prefers-color-scheme:light){{:root:not([data-theme=dark]){{{light}}}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{:root[data-theme=light]{{{light}}}:root[data-theme=dark]{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}\n"
    )


@cache
def _names() -> Mapping[str, str]:
    """Each name that a language is known by, and the first of it; no other package is asked for an unknown one."""
    lexers = (names for _, names, _, _ in get_all_lexers(plugins=False))
    return {name: names[0] for names in lexers if not set(names).isdisjoint(LANGUAGES) for name in names}


@cache
def _lexer(language: str) -> type[Lexer]:
    found: type[Lexer] = find_lexer_class_by_name(language)
    return found


@cache
def _formatter() -> HtmlFormatter:
    return HtmlFormatter(nowrap=True, classprefix=_PREFIX)


def _rules(style: str) -> str:
    """The rules of a style, without one for what is no valid code: much in a chat is the half of something."""
    alike: dict[str, list[str]] = defaultdict(list)
    for kind, how in get_style_by_name(style):
        said = (
            (how["color"], f"color:#{how['color']}"),
            (how["bold"], "font-weight:600"),
            (how["italic"], "font-style:italic"),
        )
        rule = ";".join(words for is_said, words in said if is_said)
        if rule and STANDARD_TYPES.get(kind) and kind not in {Error, Whitespace}:
            alike[rule].append(f".{_PREFIX}{STANDARD_TYPES[kind]}")
    return "".join(f"{','.join(classes)}{{{rule}}}" for rule, classes in alike.items())
