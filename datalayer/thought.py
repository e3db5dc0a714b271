"""Tells the thought of a model from its answer, where both are in one text.

Models that think first write their thought before the answer, between two tags: `<think>…</think>`. Some chat templates
contain the opening tag themselves, so the text begins with thought and only the closing tag shows it. An answer that is
cut inside the thought has no closing tag.

A tag is a tag only at the beginning of an answer. Later in an answer, or in code, it is text that the model wrote.
"""

import re
from collections.abc import Iterator
from typing import Literal

THOUGHT = "thought"
"""The `status` in the metadata of a step that holds the thought of an answer."""
THOUGHT_TYPE = "llm"
"""The `type` of such a step."""
THOUGHT_NAME = "Thought"
"""The `name` of such a step, in every language."""

Kind = Literal["speech", "thought", "taken_back"]

_NAMES = ("think", "thinking", "thought", "reasoning", "seed:think")
_TAGS: tuple[tuple[str, str], ...] = (
    *((f"<{name}>", f"</{name}>") for name in _NAMES),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)
_CLOSING_OF = dict(_TAGS)
_CLOSINGS = tuple(_CLOSING_OF.values())
_OPENING_OF = {closing: opening for opening, closing in _TAGS}
FIRST_CHARACTERS = frozenset(tag[0] for pair in _TAGS for tag in pair)
"""With one of these, every tag begins."""
CLOSING_STARTS = tuple(sorted({closing[:2] for closing in _CLOSINGS}))
"""With one of these, every closing tag begins."""
_LONGEST = max(len(tag) for pair in _TAGS for tag in pair)
_OPENING = re.compile("|".join(re.escape(opening) for opening in _CLOSING_OF), re.IGNORECASE)
_CLOSING = re.compile("|".join(re.escape(closing) for closing in _CLOSINGS), re.IGNORECASE)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_FENCE_LENGTH = len("   ```")
BLANK = " \t\r\n\ufeff\u200b"
"""What can stand before the first tag."""
# What can stand before a closing tag that is not on a line of its own, and what can stand behind it.
_QUOTES = "\"'`(“‘«「『"
_OPENS_TEXT = "#*-|>[$\\_"
_ENDS_SENTENCE = ".!?:。！？：…"


class Splitter:
    """Tells thought from speech in one text that arrives in pieces, cut at any place.

    `feed` and `end` give the new parts in order: "speech" and "thought" with their text, and "taken_back" with no text
    if a closing tag shows that all speech so far was thought.
    """

    def __init__(self) -> None:
        self._held = ""
        self._closing: str | None = None
        self._is_speech = False
        self._has_spoken = False
        self._has_tag = False
        self._has_thought = False
        self._begins_thought = False
        self._drops_blanks = False
        # Opening tags within the thought that have no closing one yet, and its last characters.
        self._nested = 0
        self._tail = ""
        # The speech so far, if a closing tag can still follow: what is not judged yet, and what is known of the rest.
        self._speech: list[str] = []
        self._before = _Before()

    def drop_blanks(self) -> None:
        """Drop blank lines at the beginning of the speech, because a thought came before it in another way."""
        self._drops_blanks = True

    def feed(self, text: str) -> list[tuple[Kind, str]]:
        if self._is_speech and not self._held and (self._has_tag or FIRST_CHARACTERS.isdisjoint(text)):
            return list(self._say(text))
        self._held += text
        return list(self._parts(is_end=False))

    def feed_thought(self, text: str) -> list[tuple[Kind, str]]:
        """Take a piece that the server marks as thought. It may have tags, and the answer behind a closing one.

        Until an opening tag is closed, what follows is thought, marked or not.
        """
        if self._closing is not None:
            return self.feed(text)
        held = self._held + text
        head = held.lstrip(BLANK)[:_LONGEST].lower()
        if any(head.startswith(tag) for pair in _TAGS for tag in pair):
            self._is_speech = False
            return self.feed(text)
        if any(opening.startswith(head) for opening in _CLOSING_OF):
            # It could become a tag.
            self._held = held
            return []
        self._held, self._has_thought = "", True
        return [("thought", held)]

    def end(self) -> list[tuple[Kind, str]]:
        """The parts of what was held back, because it could have become a tag."""
        return list(self._parts(is_end=True))

    def _parts(self, *, is_end: bool) -> Iterator[tuple[Kind, str]]:
        before = None
        while self._held and before != (before := (self._held, self._closing, self._is_speech)):
            if self._closing is not None:
                yield from self._think(self._closing, is_end=is_end)
            elif self._is_speech:
                yield from self._speak(is_end=is_end)
            else:
                self._begin(is_end=is_end)

    def _begin(self, *, is_end: bool) -> None:
        """Decide whether the text goes on with thought or with speech."""
        text = self._held.lstrip(BLANK)
        head = text[:_LONGEST].lower()
        for opening, closing in _TAGS:
            if head.startswith(opening):
                self._held, self._closing, self._begins_thought = text[len(opening) :], closing, True
                self._has_tag, self._drops_blanks = True, not self._has_spoken
                self._nested, self._tail = 0, ""
                return
            if head.startswith(closing):
                self._held, self._has_tag, self._drops_blanks = text[len(closing) :], True, not self._has_spoken
                return
        if is_end or not any(tag.startswith(head) for pair in _TAGS for tag in pair):
            self._is_speech = self._has_spoken = True
            if self._drops_blanks:
                self._held = text

    def _think(self, closing: str, *, is_end: bool) -> Iterator[tuple[Kind, str]]:
        found = re.search(re.escape(closing), self._held, re.IGNORECASE)
        if found:
            text, self._held, self._closing = self._held[: found.start()], self._held[found.end() :], None
            self._nest(text, closing)
            # A nested thought may have ended, and the outer one go on.
            self._has_tag = not self._nested
        else:
            size = len(self._held) - (0 if is_end else _beginning_of_tag(self._held, (closing,)))
            text, self._held = self._held[:size], self._held[size:]
            self._nest(text, closing)
        if self._begins_thought:
            text = text.lstrip(BLANK)
        if text:
            yield "thought", f"\n\n{text}" if self._begins_thought and self._has_thought else text
            self._has_thought, self._begins_thought = True, False

    def _nest(self, text: str, closing: str) -> None:
        """Count the opening tags in this part of the thought."""
        opening = _OPENING_OF[closing]
        text = (self._tail + text).lower()
        self._nested += text.count(opening)
        self._tail = text[1 - len(opening) :]

    def _speak(self, *, is_end: bool) -> Iterator[tuple[Kind, str]]:
        if self._has_tag:
            yield from self._say_held(len(self._held))
            return
        self._before.add("".join(self._speech))
        self._speech.clear()
        judged = 0
        for found in _CLOSING.finditer(self._held):
            self._before.add(self._held[judged : found.start()])
            judged = found.start()
            if found.end() == len(self._held) and not is_end:
                # What follows decides whether it is a tag.
                yield from self._say_judged(judged)
                return
            if self._before.lets_close(self._held[found.end() : found.end() + 1]):
                rest = self._held[found.end() :]
                yield from self._say_judged(judged)
                yield "taken_back", ""
                self._held, self._is_speech, self._before = rest, False, _Before()
                self._nested = max(0, self._nested - 1)
                self._has_tag, self._has_thought, self._drops_blanks = not self._nested, True, True
                return
            self._before.add(found[0])
            judged = found.end()
        kept = 0 if is_end else _beginning_of_tag(self._held[judged:], _CLOSINGS)
        yield from self._say_judged(judged)
        yield from self._say_held(len(self._held) - kept)

    def _say_judged(self, size: int) -> Iterator[tuple[Kind, str]]:
        text, self._held = self._held[:size], self._held[size:]
        if text:
            yield "speech", text

    def _say_held(self, size: int) -> Iterator[tuple[Kind, str]]:
        text, self._held = self._held[:size], self._held[size:]
        yield from self._say(text)

    def _say(self, text: str) -> Iterator[tuple[Kind, str]]:
        if not text:
            return
        if not self._has_tag:
            self._speech.append(text)
        yield "speech", text


def split(text: str) -> tuple[str, str]:
    """The thought and the speech of a whole answer."""
    if not _has_tag(text):
        return "", text
    splitter, thought, speech = Splitter(), list[str](), list[str]()
    for kind, part in (*splitter.feed(text), *splitter.end()):
        if kind == "taken_back":
            thought, speech = [*thought, *speech], []
        else:
            (thought if kind == "thought" else speech).append(part)
    return "".join(thought).strip(), "".join(speech)


def speech_of(text: str) -> str:
    """The answer without its thought."""
    return split(text)[1]


def _has_tag(text: str) -> bool:
    if _OPENING.match(text.lstrip(BLANK)) is not None:
        return True
    # Most texts have none of these, which is known at once.
    return any(start in text for start in CLOSING_STARTS) and _CLOSING.search(text) is not None


def _beginning_of_tag(text: str, tags: tuple[str, ...]) -> int:
    """How many characters at the end of the text could be the beginning of one of the tags."""
    tail = text[-_LONGEST:].lower()
    for at in range(len(tail)):
        if tail[at] in FIRST_CHARACTERS and any(tag.startswith(tail[at:]) for tag in tags):
            return len(tail) - at
    return 0


class _Before:
    """What is known of the text before a closing tag that has no opening one. It grows by pieces, cut at any place."""

    def __init__(self) -> None:
        self._has_opening = False
        self._tail = ""
        self._fences = 0
        # Of the last line.
        self._head = ""
        self._ticks = 0
        self._last = self._last_of_word = ""

    def add(self, text: str) -> None:
        self._has_opening = self._has_opening or _OPENING.search(self._tail + text) is not None
        self._tail = (self._tail + text[-_LONGEST:])[-_LONGEST:]
        whole, newline, last = text.rpartition("\n")
        if newline:
            self._fences += len(_FENCE.findall(self._head + whole))
            self._head, self._ticks, self._last, self._last_of_word = "", 0, "", ""
        self._head = (self._head + last[:_FENCE_LENGTH])[:_FENCE_LENGTH]
        self._ticks += last.count("`")
        self._last = last[-1:] or self._last
        self._last_of_word = last.rstrip()[-1:] or self._last_of_word

    def lets_close(self, following: str) -> bool:
        """Whether a closing tag here, with this character behind it, shows that all text so far was thought."""
        fences = self._fences + len(_FENCE.findall(self._head))
        if fences % 2 == 1 or self._ticks % 2 == 1 or self._has_opening:
            return False
        if not self._last_of_word:
            return True
        if self._last.isspace():
            return self._last_of_word in _ENDS_SENTENCE and following in ("\n", "\r")
        if not following or self._last in _QUOTES:
            return False
        if following in " \t":
            return self._last in _ENDS_SENTENCE
        return following in ("\n", "\r") or following.isalnum() or following in _OPENS_TEXT
