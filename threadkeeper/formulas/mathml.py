r"""TeX formulas as safe MathML, which browsers render themselves.

The library that converts TeX would also produce links (`\href`) and styles (`\style`) from untrusted input. Its text
output is therefore not used: its tree is written out again with a white list of elements and attributes.
"""

import html
import re
from collections.abc import MutableMapping
from typing import Any
from xml.etree.ElementTree import Element

from markdown_it.common.utils import escapeHtml

LONGEST = 2_000
"""Characters of a formula; a longer one is shown as TeX."""
MOST_CHARACTERS = 10_000
"""Characters of all formulas of one text; later formulas are shown as TeX."""
# The required number of children; browsers disagree about elements with a wrong number.
ELEMENTS = {
    **dict.fromkeys(("math", "menclose", "mi", "mn", "mo", "mpadded", "mphantom", "mrow", "mspace", "msqrt")),
    **dict.fromkeys(("mmultiscripts", "mstyle", "mtable", "mtd", "mtext", "mtr")),
    **dict.fromkeys(("mfrac", "mover", "mroot", "msub", "msup", "munder"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}
_WORDS = re.compile(r"[a-z-]{1,20}( [a-z-]{1,20}){0,20}|#[0-9a-f]{3,6}|[0-9]", re.IGNORECASE)
# A formula must not cover other text: negative space is at most a letter wide, sizes are at most some lines.
_SIZE = re.compile(r"-?0?\.[0-9]{1,4}em|[0-9](\.[0-9]{1,4})?(em|ex)|[0-9]{1,2}(\.[0-9]{1,4})?(px|pt)|0")
_SIZES = ("depth", "height", "linethickness", "lspace", "mathsize", "maxsize", "minsize", "rspace", "voffset", "width")
ATTRIBUTES = {
    "accent": _WORDS,
    "accentunder": _WORDS,
    "columnalign": _WORDS,
    "display": _WORDS,
    "displaystyle": _WORDS,
    "fence": _WORDS,
    "form": _WORDS,
    "largeop": _WORDS,
    "mathcolor": _WORDS,
    "mathvariant": _WORDS,
    "movablelimits": _WORDS,
    "notation": _WORDS,
    "rowalign": _WORDS,
    "scriptlevel": _WORDS,
    "separator": _WORDS,
    "stretchy": _WORDS,
    "symmetric": _WORDS,
    **dict.fromkeys(_SIZES, _SIZE),
}
_NAMED_SIZES = {
    "negativethickmathspace": "-0.278em",
    "negativemediummathspace": "-0.222em",
    "negativethinmathspace": "-0.167em",
    "thickmathspace": "0.278em",
    "thinmathspace": "0.167em",
}
# Nested definitions can expand a short formula without bound.
_DEFINES = re.compile(r"\\(?:(?:re)?new|provide|def|[egx]def|let|Declare)(?![a-z]*line)")
# Environments that the library does not know, with a known one that looks the same.
_ALIKE = {"aligned": "split", "dcases": "cases", "equation": "split", "gather": "matrix", "gathered": "matrix"}
_ENVIRONMENT = re.compile(rf"\\(begin|end)\s*{{({'|'.join(_ALIKE)})\*?}}")


def drawn(tex: str, env: MutableMapping[str, Any], *, is_block: bool) -> str:
    """The formula as MathML, or as TeX in `<code>`.

    Args:
        tex: the formula.
        env: of the Markdown text, which counts the characters of its formulas there.
        is_block: it has a line of its own.
    """
    env["in_formulas"] = env.get("in_formulas", 0) + len(tex)
    found = as_mathml(tex, is_block=is_block) if env["in_formulas"] <= MOST_CHARACTERS else None
    return found or f"<code>{escapeHtml(tex)}</code>"


def as_mathml(tex: str, *, is_block: bool) -> str | None:
    """The formula as safe MathML; None if it is invalid or too long, or defines a command."""
    if not tex.strip() or len(tex) > LONGEST or _DEFINES.search(tex):
        return None
    # Imported for the first formula: most servers wait for it for hours.
    from latex2mathml.converter import convert_to_element  # noqa: PLC0415

    known = _ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{_ALIKE[found[2]]}}}", tex)
    try:
        return _written(convert_to_element(known, display="block" if is_block else "inline"))
    except Exception:  # noqa: BLE001  the library raises many types for invalid input
        return None


def _written(element: Element) -> str:
    text, parts = element.text or "", list(element)
    if text == "&" or (text[:1] == "\\" and element.tag != "mtext"):
        raise ValueError(f"{text} is unknown")
    inside = _text(text) + "".join(_written(part) + _text(part.tail) for part in parts)
    if element.tag not in ELEMENTS:
        return f"<mrow>{inside}</mrow>"
    if ELEMENTS[element.tag] not in {None, len(parts)}:
        raise ValueError(f"{element.tag} has a wrong number of children")
    kept = {name: _NAMED_SIZES.get(value, value) for name, value in element.attrib.items() if name in ATTRIBUTES}
    attributes = "".join(f' {name}="{value}"' for name, value in kept.items() if ATTRIBUTES[name].fullmatch(value))
    return f"<{element.tag}{attributes}>{inside}</{element.tag}>"


def _text(text: str | None) -> str:
    # The library stores characters as references; in its tree these are plain text.
    return escapeHtml(html.unescape(text)) if text else ""
