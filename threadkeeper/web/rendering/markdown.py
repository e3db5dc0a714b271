"""What people and models wrote, as HTML that cannot do anything: Markdown with its own markup, and no other.

Formulas stand between `$` or `$$`, as in the chat's page; code has the colours of its language.
HTML in it is shown as the letters it is. A link may lead to the web or to a mail address, opens apart, and tells nobody
where it was followed. Only pictures that this server itself serves are loaded; any other is a link to it.
"""

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape

from threadkeeper.web.rendering import dollars, formulas
from threadkeeper.web.rendering.highlight import ColourTime, code_block

LONGEST = 50_000
"""Characters; what is longer is shown as plain text. Colours apart, which have their own bound, so many take a second
of the processor at worst."""
LONGEST_WITH_BARE_LINKS = 10_000
"""Characters; in what is longer an address is a link only where it is written as one. The search for them takes time by
the square of a text's length where all of it looks like addresses: a quarter of a second for so many."""
_LINKS = ("http://", "https://", "mailto:", "/", "#")
# A file's link whole: a browser takes `..` out of an address, and would ask another page of ours in its reader's name.
_OURS = re.compile(r"/files/[0-9a-fA-F-]{36}/[0-9a-fA-F-]{36}/[^/?#\\]+")


class _Renderer(RendererHTML):
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
        if _OURS.fullmatch(source):
            return f'<img src="{escapeHtml(source)}" alt="{words}" loading="lazy">'
        if source.lower().startswith(("http://", "https://")):
            relation = 'rel="noopener noreferrer nofollow" target="_blank"'
            return f'<a href="{escapeHtml(source)}" {relation}>{words or escapeHtml(source)}</a>'
        return words

    def fence(self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        language = next(iter(unescapeAll(tokens[idx].info).split(maxsplit=1)), "")
        return code_block(tokens[idx].content, language, env["colour_time"]) + "\n"

    # A class instead of a style, which the pages' policy refuses.
    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        if alignment := str(token.attrs.pop("style", "")):
            token.attrs["class"] = alignment.removeprefix("text-align:")
        return self.renderToken(tokens, idx, options, env)

    td_open = th_open

    def math_inline(
        self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return _formula(tokens[idx].content, env, is_block=False)

    def math_block(
        self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return f'<div class="formula">{_formula(tokens[idx].content.strip(), env, is_block=True)}</div>\n'


def _formula(tex: str, env: MutableMapping[str, Any], *, is_block: bool) -> str:
    env["in_formulas"] = env.get("in_formulas", 0) + len(tex)
    drawn = formulas.as_mathml(tex, is_block=is_block) if env["in_formulas"] <= formulas.MOST_CHARACTERS else None
    return drawn or f"<code>{escapeHtml(tex)}</code>"


def _made() -> MarkdownIt:
    options = {"html": False, "breaks": True, "xhtmlOut": False}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    dollars.dollars(markdown)
    return markdown.enable(["table", "strikethrough"])


def _with_bare_links() -> MarkdownIt:
    """As the chat's page has it: an address with its scheme is a link, and no other word that looks like one is."""
    markdown = _made()
    finder = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for scheme in ("//", "ftp:"):
        finder.add(scheme, None)
    markdown.linkify = finder
    markdown.options["linkify"] = True
    return markdown.enable("linkify")


_MARKDOWN = _made()
_WITH_BARE_LINKS = _with_bare_links()


def as_html(text: str | None, colour_time: ColourTime | None = None) -> Markup:
    """The text as HTML that is safe within a page of ours.

    Args:
        text: Markdown.
        colour_time: that of the page, for all its texts together; without it the text has that of a whole page.
    """
    if not text:
        return Markup("")
    if len(text) > LONGEST:
        return Markup("<pre>") + escape(text) + Markup("</pre>")
    rules = _WITH_BARE_LINKS if len(text) <= LONGEST_WITH_BARE_LINKS else _MARKDOWN
    html = rules.render(text, {"colour_time": colour_time or ColourTime()})
    return Markup(html)  # noqa: S704  nothing of the text is markup there, see above


@pass_context
def markdown(context: Context, text: str | None) -> Markup:
    """The filter of a template: as `as_html`, with the page's `colour_time`."""
    return as_html(text, context["colour_time"])
