"""Syntax highlighting with CSS classes: the pages' policy forbids style attributes.

Of the languages of Pygments, those that are likely in a chat are highlighted. Their regular expressions run on
untrusted text, so their time is limited.
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
"""Characters of a block; a longer one is not highlighted. This many characters of usual code take 10 to 30 ms."""
MOST_SECONDS = 0.2
"""Processor time for a block; one that takes longer is not highlighted. In some languages a row of slashes takes
quadratic time, five seconds for `LONGEST` of them.
"""
MOST_SECONDS_OF_PAGE = 1.0
"""Processor time for all blocks of a page, including those that took too long; later blocks are not highlighted. A page
of 200,000 characters of usual code takes less.
"""
LANGUAGES = (
    *("bash", "bat", "c", "cpp", "csharp", "css", "dart", "diff", "docker", "elixir", "go", "graphql", "haskell"),
    *("html", "ini", "java", "javascript", "json", "jsx", "julia", "kotlin", "latex", "lua", "make", "matlab", "nginx"),
    *("objective-c", "perl", "php", "powershell", "protobuf", "pycon", "python", "r", "ruby", "rust", "scss"),
    *("sql", "swift", "terraform", "toml", "tsx", "typescript", "xml", "yaml"),
)
"""Without Scala: one of its expressions takes exponential time for backslashes after a quotation mark, hours for sixty.
"""
# A running expression cannot be interrupted, and blocks all threads. Those of C take quadratic time for a row of white
# space: ten seconds for `LONGEST`, some milliseconds for this many.
_LONG_GAP = re.compile(r"\s{200}")
_LONGEST_NAME = 30
_PREFIX = "hl-"
_LIGHT, _DARK = "default", "github-dark"


@dataclass(slots=True)
class ColourTime:
    """The remaining processor time for the blocks of one page, in seconds."""

    left: float = MOST_SECONDS_OF_PAGE


def code_block(code: str, language: str, time_of_page: ColourTime) -> str:
    """A block of code as HTML, with the name of its language as a data attribute.

    Args:
        code: the content of the block.
        language: as its author wrote it, or "".
        time_of_page: reduced by the time that the block takes.
    """
    named = f' data-language="{escapeHtml(language[:_LONGEST_NAME])}"' if language else ""
    may_have_colours = len(code) <= LONGEST and time_of_page.left > 0 and not _LONG_GAP.search(code)
    known = _names().get(language.lower()) if may_have_colours else None
    coloured = _coloured(code, known, time_of_page) if known else None
    return f"<pre{named}><code>{escapeHtml(code) if coloured is None else coloured}</code></pre>"


def _coloured(code: str, language: str, time_of_page: ColourTime) -> str | None:
    # A new lexer for each block: some keep state.
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
    """The style sheet of code: light or dark as chosen in the chat, else as the system; light in print."""
    light, dark = _rules(_LIGHT), _rules(_DARK)
    return (
        f"@media screen and (prefers-color-scheme:light){{:root:not([data-theme=dark]){{{light}}}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{:root[data-theme=light]{{{light}}}:root[data-theme=dark]{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}\n"
    )


@cache
def _names() -> Mapping[str, str]:
    """All names of the supported languages, each with the language's first name. Plugins are not loaded."""
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
    """The CSS rules of a style, without that for invalid code: code in a chat is often a fragment."""
    alike: dict[str, list[str]] = defaultdict(list)
    for kind, how in get_style_by_name(style):
        declarations = (
            (how["color"], f"color:#{how['color']}"),
            (how["bold"], "font-weight:600"),
            (how["italic"], "font-style:italic"),
        )
        rule = ";".join(words for applies, words in declarations if applies)
        if rule and STANDARD_TYPES.get(kind) and kind not in {Error, Whitespace}:
            alike[rule].append(f".{_PREFIX}{STANDARD_TYPES[kind]}")
    return "".join(f"{','.join(classes)}{{{rule}}}" for rule, classes in alike.items())
