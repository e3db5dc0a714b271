"""Prompt templates: text with the placeholders `{context}` and `{question}`; `{{` and `}}` are braces.

Only these two names are filled in: no attribute, index or format of a value can be reached from a template.
"""

from collections.abc import Mapping
from string import Formatter

from datalayer.records.assistants import CONTEXT, QUESTION

PLACEHOLDERS = (CONTEXT, QUESTION)


def placeholders(template: str) -> frozenset[str]:
    """The placeholders that the template uses.

    Raises:
        ValueError: a brace has no partner, or a placeholder is unknown; the argument of the error is the placeholder,
            or an empty text.
    """
    return frozenset(name for _, name in _parts(template) if name is not None)


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced by the values. What a value contains is not read as a template.

    Raises:
        ValueError: as `placeholders`.
    """
    return "".join(text + ("" if name is None else values[name]) for text, name in _parts(template))


def _parts(template: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        raise ValueError("") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise ValueError(name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""))
    return [(text, name) for text, name, _, _ in parts]
