"""Markdown with formulas as HTML: the rules and the renderer that pages and exported threads share."""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from threadkeeper.formulas.mathml import drawn
from threadkeeper.formulas.rules import formula_rules


class FormulaRenderer(RendererHTML):
    """Draws formulas as MathML. `block` is the tag around one that stands alone."""

    block: ClassVar[str] = "<div>"

    def math_inline(
        self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return drawn(tokens[idx].content, env, is_block=False)

    def math_displayed(
        self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return drawn(tokens[idx].content, env, is_block=True)

    def math_block(
        self, tokens: Sequence[Token], idx: int, _options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return f"{self.block}{drawn(tokens[idx].content.strip(), env, is_block=True)}</div>\n"


def markdown_with(renderer: type[FormulaRenderer], *rules: Callable[[MarkdownIt], None]) -> MarkdownIt:
    """Markdown with formulas and these further rules. HTML in it is escaped, and line breaks stay."""
    options = {"html": False, "breaks": True, "xhtmlOut": False}
    markdown = MarkdownIt("commonmark", options, renderer_cls=renderer)
    for rule in (formula_rules, *rules):
        rule(markdown)
    return markdown.enable(["table", "strikethrough"])
