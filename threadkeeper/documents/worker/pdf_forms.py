"""What was filled in and noted on a page of a PDF. A page's own text contains neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pypdf import PageObject

_HIDDEN = 1 << 1
_PASSWORD = 1 << 13
_NOTES = ("/FreeText", "/Text")
_MOST_PARENTS = 20


def filled_in(page: PageObject) -> list[str]:
    """The filled fields of the forms on a page, as "name: value", and the notes on it, in the order of the file.

    A box that is not ticked, an empty field and a password are left out.
    """
    annotations = page.get("/Annots")
    found: list[str] = []
    for reference in annotations.get_object() if annotations is not None else ():
        annotation = reference.get_object()
        if annotation is None or int(annotation.get("/F", 0)) & _HIDDEN:
            continue
        if annotation.get("/Subtype") == "/Widget":
            found.extend(_field(annotation))
        elif annotation.get("/Subtype") in _NOTES and (note := _text(annotation.get("/Contents"))):
            found.append(note)
    return found


def _field(widget: Any) -> Iterator[str]:
    kind, flags = _inherited(widget, "/FT"), int(_inherited(widget, "/Ff") or 0)
    if kind == "/Btn":
        # Each button of a group is a widget; the value of the group is the state of the one that is chosen.
        value = str(widget.get("/AS") or _inherited(widget, "/V") or "").removeprefix("/")
        value = "" if value == "Off" else value
    elif kind == "/Tx" and flags & _PASSWORD:
        value = ""
    elif kind in ("/Tx", "/Ch"):
        value = _text(_inherited(widget, "/V"))
    else:
        return
    if value:
        name = _text(_inherited(widget, "/TU")) or _text(_inherited(widget, "/T"))
        yield f"{name}: {value}" if name else value


def _inherited(widget: Any, key: str) -> Any:
    """The value of a key of a field, which can be that of a group which contains the field."""
    for _ in range(_MOST_PARENTS):
        if (value := widget.get(key)) is not None:
            return value.get_object()
        parent = widget.get("/Parent")
        if parent is None:
            return None
        widget = parent.get_object()
    return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    value = value.get_object()
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))
    if hasattr(value, "get_data"):
        # A long text is a stream.
        return str(value.get_data().decode("utf-8", "replace")).strip()
    return str(value).replace("\r", "\n").strip()
