"""Markdown of users and models as safe HTML.

Formulas are found as for the chat's page (`threadkeeper.formulas`); code is highlighted. HTML in the text is escaped.
Links lead to the web, to mail addresses or to this server, open in a new tab and send no referrer. Only images that
this server serves are loaded; other images become links.
"""

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape

from threadkeeper.formulas.renderer import FormulaRenderer, markdown_with
from threadkeeper.language import cjk
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.rendering.highlight import ColourTime, code_block

LONGEST = 50_000
"""Characters; a longer text is shown as plain text. Without highlighting, which has its own limit, this many take at
most a second of processor time."""
LONGEST_WITH_BARE_LINKS = 10_000
"""Characters; in a longer text, bare URLs do not become links. The search for them takes quadratic time in a text that
looks like URLs throughout: a quarter of a second for this many."""
_LINKS = ("http://", "https://", "mailto:", "/", "#")
# The whole path of a file: a browser resolves `..`, and would request another page with the reader's cookie.
_OURS = re.compile(r"/files/[0-9a-fA-F-]{36}/[0-9a-fA-F-]{36}/[^/?#\\]+")


class _Renderer(FormulaRenderer):
    block = '<div class="formula">'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        if not str(token.attrGet("href") or "").lower().startswith(_LINKS):
            token.attrs.pop("href", None)
        token.attrs |= {"rel": "noopener noreferrer nofollow", "target": "_blank"}
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        source = str(token.attrGet("src") or "")
        words = escapeHtml(self.renderInlineAsText(token.children, options, env))
        if _OURS.fullmatch(source.removeprefix(root_path())):
            return f'<img src="{escapeHtml(source)}" alt="{words}" loading="lazy">'
        if source.lower().startswith(("http://", "https://")):
            relation = 'rel="noopener noreferrer nofollow" target="_blank"'
            return f'<a href="{escapeHtml(source)}" {relation}>{words or escapeHtml(source)}</a>'
        return words

    def fence(self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        language = next(iter(unescapeAll(tokens[idx].info).split(maxsplit=1)), "")
        return code_block(tokens[idx].content, language, env["colour_time"]) + "\n"

    # A class instead of a style attribute, which the pages' policy forbids.
    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        if alignment := str(token.attrs.pop("style", "")):
            token.attrs["class"] = alignment.removeprefix("text-align:")
        return self.renderToken(tokens, idx, options, env)

    td_open = th_open


def _with_bare_links() -> MarkdownIt:
    """As in the chat's page: a bare URL becomes a link only with its scheme."""
    markdown = markdown_with(_Renderer, cjk.emphasis_beside_letters)
    finder = cjk.LinkFinder(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for scheme in ("//", "ftp:"):
        finder.add(scheme, None)
    markdown.linkify = finder
    markdown.options["linkify"] = True
    return markdown.enable("linkify")


_MARKDOWN = markdown_with(_Renderer, cjk.emphasis_beside_letters)
_WITH_BARE_LINKS = _with_bare_links()


def as_html(text: str | None, colour_time: ColourTime | None = None) -> Markup:
    """The text as HTML that is safe in a page.

    Args:
        text: Markdown.
        colour_time: shared by all texts of a page; without it, the text gets the time of a whole page.
    """
    if not text:
        return Markup("")
    if len(text) > LONGEST:
        return Markup("<pre>") + escape(text) + Markup("</pre>")
    rules = _WITH_BARE_LINKS if len(text) <= LONGEST_WITH_BARE_LINKS else _MARKDOWN
    html = rules.render(text, {"colour_time": colour_time or ColourTime()})
    return Markup(html)  # noqa: S704  the renderer escapes all markup of the text


def as_preview(text: str | None) -> str:
    """The template filter for a line of plain text: the words of the Markdown without its marks."""
    if not text or len(text) > LONGEST:
        return text or ""
    return " ".join(" ".join(_words(_MARKDOWN.parse(text))).split()) or text


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("inline", "image"):
            # The parts of a word stand together: `**bo**ld`.
            yield "".join(_words(token.children or ()))
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
        else:
            yield token.content


@pass_context
def markdown(context: Context, text: str | None) -> Markup:
    """The template filter: `as_html` with the page's `colour_time`."""
    return as_html(text, context["colour_time"])
