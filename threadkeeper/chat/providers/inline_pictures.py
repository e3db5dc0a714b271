"""Takes pictures out of the text of an answer: `![image](data:image/png;base64,…)`, as gateways to Gemini write them.

As text, a picture has millions of characters: no page shows it, and no later request has room for the thread.
"""

from __future__ import annotations

import re

from threadkeeper.chat.model import ContentKind

_OPENING = re.compile(r"!\[[^\]\n]{0,200}\]\(\s*<?(data:image/[\w.+-]{1,20};base64,)")
_BEGINNING = re.compile(r"!(?:\[[^\]\n]{0,200}(?:\](?:\(\s*<?([\w:/.;,+-]{0,40}))?)?)?")
_ADDRESS = "data:image/"
# A shorter one is an example, as in an answer about Markdown.
_FEWEST_CHARACTERS = 1000

Found = str | tuple[ContentKind, str]
"""A text, or the data URL of a picture; it is empty if the picture is too large or not complete."""


class InlinePictures:
    """Splits a text that arrives in pieces.

    Args:
        most_characters: of the data URL of a picture.
    """

    def __init__(self, most_characters: int) -> None:
        self._most = most_characters
        self._held = ""
        self._picture: list[str] | None = None
        self._size = 0

    def take(self, text: str) -> list[Found]:
        if self._picture is None and not self._held and "!" not in text:
            # True of nearly every token.
            return [text]
        found: list[Found] = []
        while text:
            text = self._continue(text, found) if self._picture is not None else self._search(text, found)
        return found

    def end(self) -> list[Found]:
        """What is held back; nothing follows it."""
        found: list[Found] = [self._held] if self._held else [("pictures", "")] if self._picture else []
        self._held, self._picture = "", None
        return found

    def _search(self, text: str, found: list[Found]) -> str:
        """Pass text on, to the beginning of a picture; returns the rest."""
        text, self._held = self._held + text, ""
        if opening := _OPENING.search(text):
            found += [text[: opening.start()]] if opening.start() else []
            self._picture, self._size = [opening[0]], 0
            return text[opening.end() :]
        at = max(text.rfind("!["), len(text) - 1 if text.endswith("!") else -1)
        if at >= 0 and (begun := _BEGINNING.fullmatch(text, at)):
            address = begun[1] or ""
            if _ADDRESS.startswith(address) or address.startswith(_ADDRESS):
                text, self._held = text[:at], text[at:]
        found += [text] if text else []
        return ""

    def _continue(self, text: str, found: list[Found]) -> str:
        assert self._picture is not None
        data, end, rest = text.partition(")")
        self._size += len(data)
        if self._size <= self._most:
            self._picture.append(data)
        if not end:
            # The next piece is looked at when it comes.
            return ""
        opening, whole = self._picture[0], "".join(self._picture)
        self._picture = None
        if self._size < _FEWEST_CHARACTERS:
            found.append(whole + end)
        else:
            address = whole[opening.index(_ADDRESS) :].partition('"')[0].strip(" >\n")
            found.append(("pictures", address if self._size <= self._most else ""))
        return rest
