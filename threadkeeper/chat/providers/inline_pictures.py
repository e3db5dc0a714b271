"""Takes pictures out of the text of an answer, where gateways to models of pictures write them as data URLs.

They stand in Markdown, `![image](data:image/png;base64,…)`, in HTML, `<img src="data:image/png;base64,…">`, or bare,
also as the whole answer. As text, a picture has millions of characters: no page shows it, and no later request has room
for the thread.
"""

from __future__ import annotations

import re

from threadkeeper.chat.model import ContentKind


def _beginning_of(*parts: str) -> str:
    """A pattern for the first of these parts, the first two, and so on."""
    pattern = ""
    for part in reversed(parts):
        pattern = f"{part}(?:{pattern})?" if pattern else part
    return pattern


_ADDRESS = "data:image/"
_SUBTYPE = r"[\w.+-]{1,20}"
_URL = f"{_ADDRESS}{_SUBTYPE};base64,"
_URL_BEGINNING = _beginning_of(*_ADDRESS, _SUBTYPE, *";base64,")
_ALT = r"\[[^\]\n]{0,200}"
_TAG = r"<img\s[^<>]{0,300}"
_OPENING = re.compile(
    rf"(?P<markdown>!{_ALT}\]\(\s*<?{_URL})|(?P<html>{_TAG}?\bsrc\s*=\s*[\"']?{_URL})|(?P<bare>(?<!\w){_URL})",
    re.IGNORECASE,
)
# What can become one of them with the next piece.
_MARKDOWN_BEGINNING = _beginning_of("!", _ALT, r"\]", r"\(\s*<?", _URL_BEGINNING)
_BEGINNING = re.compile(
    rf"(?:{_MARKDOWN_BEGINNING}|{_beginning_of(*'<img')}|{_TAG}|(?<!\w){_URL_BEGINNING})\Z", re.IGNORECASE
)
# True of few tokens.
_MAY_BEGIN = re.compile(r"[!<]|data:|d(?:a(?:ta?)?)?\Z", re.IGNORECASE)
_ENDS = {"markdown": re.compile(r"\)"), "html": re.compile(">"), "bare": re.compile(r"(?=[^\w+/=-])")}
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
        self._last = ""
        self._picture: list[str] | None = None
        self._place = ""
        self._size = 0

    def take(self, text: str) -> list[Found]:
        found: list[Found] = []
        if self._picture is None and not self._held and not _MAY_BEGIN.search(text):
            self._pass_on(text, found)
            return found
        while text:
            text = self._continue(text, found) if self._picture is not None else self._search(text, found)
        return found

    def end(self) -> list[Found]:
        """What is held back; nothing follows it."""
        found: list[Found] = [self._held] if self._held else []
        if self._picture is not None:
            if self._place == "bare":
                self._take_picture("", found)
            else:
                found.append(("pictures", ""))
        self._held, self._picture = "", None
        return found

    def _search(self, text: str, found: list[Found]) -> str:
        """Pass text on, to the beginning of a picture; returns the rest."""
        # With the character before, because `metadata:` begins no data URL.
        text, start, self._held = self._last + self._held + text, len(self._last), ""
        if opening := _OPENING.search(text, start):
            self._pass_on(text[start : opening.start()], found)
            self._picture, self._place, self._size = [opening[0]], opening.lastgroup or "", 0
            return text[opening.end() :]
        if begun := _BEGINNING.search(text, start):
            text, self._held = text[: begun.start()], begun[0]
        self._pass_on(text[start:], found)
        return ""

    def _pass_on(self, text: str, found: list[Found]) -> None:
        if text:
            self._last = text[-1]
            found.append(text)

    def _continue(self, text: str, found: list[Found]) -> str:
        assert self._picture is not None
        end = _ENDS[self._place].search(text)
        data = text[: end.start()] if end else text
        self._size += len(data)
        if self._size <= self._most:
            self._picture.append(data)
        if end is None:
            # The next piece is looked at when it comes.
            return ""
        self._take_picture(end[0], found)
        return text[end.end() :]

    def _take_picture(self, end: str, found: list[Found]) -> None:
        """The picture is complete; `end`: what ends it in its text."""
        assert self._picture is not None
        opening, whole, self._picture = self._picture[0], "".join(self._picture), None
        if self._size < _FEWEST_CHARACTERS:
            self._pass_on(whole + end, found)
            return
        address = re.split(r"[\"'>]", whole[opening.lower().index(_ADDRESS) :])[0].strip()
        found.append(("pictures", address if self._size <= self._most else ""))
        self._last = " "
