"""Leaves out text of a PDF page that nobody sees, or sees once: beside the CropBox, and drawn twice to look bold.

pypdf reads all text of a page. It tells each operation before it works on it, and reads what is then in its operands,
so text that is to be left out is taken out there. In a form XObject, the place on the page is not told, so there only
text that is drawn twice is found. Where each letter is drawn twice, pypdf sees gaps in place of the second ones, so
another reader is asked for such a page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pypdf import PageObject
from pypdf.generic import ArrayObject, RectangleObject, TextStringObject

_SHOWS = (b"Tj", b"TJ", b"'", b'"')
_PLACES = (b"BT", b"Td", b"TD", b"Tm", b"T*", b"cm", b"q", b"Q")
# Of the size of the font: text that is drawn again nearer than this makes letters bold.
_BOLD = 0.1
_FEW_LETTERS = 2
_Matrix = Sequence[float]
_Box = tuple[float, float, float, float]


def text_of(page: PageObject, second: Callable[[], str]) -> str:
    """The text of a page as it is seen. Raises what pypdf raises for a broken page.

    Args:
        second: reads the page with another reader; "" if it cannot.
    """
    shown = _Shown(page)
    text = page.extract_text(visitor_operand_before=shown.before, visitor_operand_after=shown.after)
    return (second() or page.extract_text()) if shown.has_double_letters else text


class _Shown:
    def __init__(self, page: PageObject) -> None:
        crop, media = _corners(page.cropbox), _corners(page.mediabox)
        left, bottom, right, top = (*map(max, crop[:2], media[:2]), *map(min, crop[2:], media[2:]))
        # A reader of PDFs shows the whole page if the boxes do not meet.
        self._box = (left, bottom, right, top) if left < right and bottom < top else media
        self._size = 1.0
        self._run: tuple[str, ...] = ()
        self._forms: list[int] = []
        self._form = 0
        self._drawn: dict[object, set[tuple[int, int]]] = {}
        self._letters = 0

    @property
    def has_double_letters(self) -> bool:
        """Whether letters were left out one by one; a page may have a sign or two on top of each other."""
        return self._letters > _FEW_LETTERS

    def before(self, operator: bytes, operands: list[Any], cm: _Matrix, tm: _Matrix) -> None:
        """Empties what an operation would show, if that is not seen or was drawn before."""
        if operator in _SHOWS and operands:
            self._show(operator, operands, cm, tm)
        elif operator == b"Tf" and len(operands) > 1 and isinstance(operands[1], (int, float)):
            self._size = abs(float(operands[1]))
        elif operator in _PLACES:
            self._run = ()
        elif operator == b"Do":
            self._forms.append(self._form)
            self._form = len(self._drawn) + 1

    def after(self, operator: bytes, _operands: list[Any], _cm: _Matrix, _tm: _Matrix) -> None:
        if operator == b"Do":
            self._form, self._run = self._forms.pop(), ()

    def _show(self, operator: bytes, operands: list[Any], cm: _Matrix, tm: _Matrix) -> None:
        at = len(operands) - 1 if operator == b'"' else 0
        text = _text(operands[at])
        # In "'" and '"' the line is left first.
        self._run = (text,) if operator in (b"'", b'"') else (*self._run, text)
        place = _Place(cm, tm, self._size)
        is_beside = not self._form and place.is_beside(self._box, len(text))
        is_drawn = operator in (b"Tj", b"TJ") and self._is_drawn(place)
        self._letters += is_drawn and len(text) == 1
        if is_drawn or is_beside:
            operands[at] = ArrayObject() if operator == b"TJ" else TextStringObject("")

    def _is_drawn(self, place: _Place) -> bool:
        """Whether the same text was drawn here before; notes it."""
        if not place.em or not "".join(self._run).strip():
            return False
        step = place.em * _BOLD
        column, row = round(place.x / step), round(place.y / step)
        # Text that goes on behind other text has no place of its own, so what it goes on with is part of the key.
        cells = self._drawn.setdefault((self._form, self._run, round(place.em, 1)), set())
        is_drawn = any((column + right, row + up) in cells for right in (-1, 0, 1) for up in (-1, 0, 1))
        cells.add((column, row))
        return is_drawn


class _Place:
    """Where text begins in the space of the page, and how large it is."""

    def __init__(self, cm: _Matrix, tm: _Matrix, size: float) -> None:
        across = (tm[0] * cm[0] + tm[1] * cm[2], tm[0] * cm[1] + tm[1] * cm[3])
        self.x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
        self.y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
        self.em = math.hypot(*across) * size
        self._direction = (across[0] * size, across[1] * size)

    def is_beside(self, box: _Box, characters: int) -> bool:
        """Whether the text lies beside the box, however wide its characters are."""
        left, bottom, right, top = box
        ends = [(self.x + part * self._direction[0], self.y + part * self._direction[1]) for part in (0, characters)]
        xs, ys = zip(*ends, strict=True)
        return bool(max(xs) < left or min(xs) > right or max(ys) + self.em < bottom or min(ys) - self.em > top)


def _corners(box: RectangleObject) -> _Box:
    """Left, bottom, right and top; a box may name its corners in any order."""
    xs, ys = sorted((float(box.left), float(box.right))), sorted((float(box.bottom), float(box.top)))
    return xs[0], ys[0], xs[1], ys[1]


def _text(operand: Any) -> str:
    parts = operand if isinstance(operand, list) else [operand]
    return "".join(
        one if isinstance(one, str) else one.decode("latin-1") for one in parts if isinstance(one, (str, bytes))
    )
