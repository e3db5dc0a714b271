r"""Formulas as MathML, which browsers draw themselves: of what the library makes of TeX, what is known to be harmless.

The library reads what anybody wrote, and would also make links (`\href`) and styles (`\style`) of it. So nothing of its
text is taken: the tree that it builds is gone through, and written anew with these elements and attributes alone.
"""

import html
import re
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it.common.utils import escapeHtml

LONGEST = 2_000
"""Characters of a formula; a longer one is shown as it was written."""
MOST_CHARACTERS = 10_000
"""Characters of all formulas of one text; those after them are shown as they were written."""
# With how many parts each is whole; a browser draws one of a wrong number as it likes.
ELEMENTS = {
    **dict.fromkeys(("math", "menclose", "mi", "mn", "mo", "mpadded", "mphantom", "mrow", "mspace", "msqrt")),
    **dict.fromkeys(("mmultiscripts", "mstyle", "mtable", "mtd", "mtext", "mtr")),
    **dict.fromkeys(("mfrac", "mover", "mroot", "msub", "msup", "munder"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}
_WORDS = re.compile(r"[a-z-]{1,20}( [a-z-]{1,20}){0,20}|#[0-9a-f]{3,6}|[0-9]", re.IGNORECASE)
# A formula stays in its place: nothing goes back further than over a letter, or is larger than some lines.
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
# A definition may stand for itself many times over, and a short formula then for one without end.
_DEFINES = re.compile(r"\\(?:(?:re)?new|provide|def|[egx]def|let|Declare)(?![a-z]*line)")
# What the library does not know, by what it draws alike.
_ALIKE = {"aligned": "split", "dcases": "cases", "equation": "split", "gather": "matrix", "gathered": "matrix"}
_ENVIRONMENT = re.compile(rf"\\(begin|end)\s*{{({'|'.join(_ALIKE)})\*?}}")


def as_mathml(tex: str, *, is_block: bool) -> str | None:
    """The formula as MathML that is safe within a page; None where it is none, defines something, or is too long."""
    if not tex.strip() or len(tex) > LONGEST or _DEFINES.search(tex):
        return None
    known = _ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{_ALIKE[found[2]]}}}", tex)
    try:
        return _written(convert_to_element(known, display="block" if is_block else "inline"))
    except Exception:  # noqa: BLE001  whatever the library cannot read, in whatever way it fails at that
        return None


def _written(element: Element) -> str:
    text, parts = element.text or "", list(element)
    if text == "&" or (text[:1] == "\\" and element.tag != "mtext"):
        raise ValueError(f"{text} is not known")
    inside = _text(text) + "".join(_written(part) + _text(part.tail) for part in parts)
    if element.tag not in ELEMENTS:
        return f"<mrow>{inside}</mrow>"
    if ELEMENTS[element.tag] not in {None, len(parts)}:
        raise ValueError(f"a part of {element.tag} is missing")
    kept = {name: _NAMED_SIZES.get(value, value) for name, value in element.attrib.items() if name in ATTRIBUTES}
    said = "".join(f' {name}="{value}"' for name, value in kept.items() if ATTRIBUTES[name].fullmatch(value))
    return f"<{element.tag}{said}>{inside}</{element.tag}>"


def _text(text: str | None) -> str:
    # The library writes characters as references, which are text as well to who reads its tree.
    return escapeHtml(html.unescape(text)) if text else ""
