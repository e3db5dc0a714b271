"""Tells thought from speech in what a chat completions server sends.

Servers send the thought of a model in six ways, none of which is part of OpenAI's specification:

- between tags in the text, as the model wrote it: `datalayer.thought`
- `reasoning_content`: DeepSeek, vLLM, SGLang, llama.cpp, LiteLLM
- `reasoning`: OpenRouter, Ollama, Groq, newer vLLM
- `reasoning_details`, `thinking_blocks`: OpenRouter and LiteLLM, beside one of the two above, with the same words
- blocks in a list of content: `[{"type": "thinking", …}, {"type": "text", …}]`, as Mistral and Anthropic have them
- a mark beside the words: `"extra_content": {"google": {"thought": true}}` (Gemini, with tags or without), `"thought":
  true`; also in the parts of a content, as Gemini has them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from datalayer.thought import FIRST_CHARACTERS, Kind, Splitter
from threadkeeper.chat.model import AnswerPart, Delta, NotShown, Picture, Thought
from threadkeeper.chat.providers.inline_pictures import Found, InlinePictures
from threadkeeper.chat.providers.other_content import MOST_PICTURE_CHARACTERS, OtherContent, kind_of

_SPEECH: Kind = "speech"
_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thought", "reasoning_details",
           "thinking_blocks")  # fmt: skip
_TEXT_TYPES = ("text", "output_text", "refusal", "")
_WORDS = ("thinking", "text", "content", "reasoning", "summary", "thought")
_MARKS = ("thought", "is_thought", "isThought", "thinking", "is_thinking", "reasoning", "is_reasoning")
# Where the words of a content, or of a block, are if it is an object.
_TEXTS = ("text", "value", "content", "parts", "refusal")


class AnswerReader:
    """Takes the deltas of one answer, or its whole message; `events` gives what they contain since the last call."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._field: str | None = None
        self._has_thought = False
        self._events: list[AnswerPart] = []
        self._inline = InlinePictures(MOST_PICTURE_CHARACTERS)
        self.others = OtherContent()

    def take(self, message: dict[str, Any]) -> bool:
        """Returns whether there are words in it. Raises TypeError if the content cannot be read."""
        has_words = False
        if thought := self._thought_field(message):
            has_words = True
            self._add("thought", thought)
            self._splitter.drop_blanks()
        content = message.get("content") or message.get("refusal") or ""
        is_marked = len(message) > 1 and _is_marked(message)
        for kind, text in ((_SPEECH, content),) if isinstance(content, str) else _blocks(content):
            has_words = has_words or bool(text)
            if is_marked and text:
                self._splitter.drop_blanks()
                self._extend(self._splitter.feed_thought(text))
            elif kind == "thought":
                self._add("thought", text)
                self._splitter.drop_blanks()
            elif text:
                self._extend(self._splitter.feed(text))
        if len(message) > 1 or "content" not in message or not isinstance(content, str):
            self._events += self.others.take(message)
        return has_words

    def put(self, thought: str, text: str, others: Iterable[Picture | NotShown]) -> None:
        """Take a thought, a text and other contents that are known apart."""
        self._add("thought", thought)
        self._add("speech", text)
        self._events += others

    def end(self) -> None:
        """Take what was held back, because it could have become a tag."""
        self._extend(self._splitter.end())
        self._speak(self._inline.end())

    def events(self) -> list[AnswerPart]:
        events, self._events = self._events, []
        return events

    def _thought_field(self, message: dict[str, Any]) -> str:
        # Only one field counts for the whole answer: some servers send the same words in two of them.
        for name in (self._field,) if self._field else _FIELDS:
            if (value := message.get(name)) and (words := _words(value)):
                self._field = name
                return words
        return ""

    def _extend(self, parts: Iterable[tuple[Kind, str]]) -> None:
        for kind, text in parts:
            self._add(kind, text)

    def _add(self, kind: Kind, text: str) -> None:
        if kind == "speech":
            self._speak(self._inline.take(text))
            return
        last = self._events[-1] if self._events else None
        if kind == "taken_back":
            self._speak(self._inline.end())
            self._events.append(Thought(takes_back=True))
        else:
            # Some servers send a blank line in place of a thought.
            text = text if self._has_thought else text.lstrip()
            self._has_thought |= bool(text)
            if isinstance(last, Thought) and not last.takes_back:
                self._events[-1] = Thought(last.text + text)
            elif text:
                self._events.append(Thought(text))

    def _speak(self, found: Iterable[Found]) -> None:
        """Add text of the answer, and the pictures that stand in it."""
        for one in found:
            last = self._events[-1] if self._events else None
            if not isinstance(one, str):
                self._events += self.others.add(*one)
            elif isinstance(last, Delta):
                self._events[-1] = Delta(last.text + one)
            elif one:
                self._events.append(Delta(one))


def read_message(message: dict[str, Any]) -> tuple[str, str, tuple[Picture | NotShown, ...]]:
    """The thought, the text and the other contents of a whole message."""
    content = message.get("content")
    if isinstance(content, str) and _is_plain(message, content):
        return "", content, ()
    reader = AnswerReader()
    # Gemini marks a message that contains thought, between tags, and not only thought.
    reader.take({name: value for name, value in message.items() if name != "extra_content" and value is not True})
    reader.end()
    return joined(reader.events())


def _is_plain(message: dict[str, Any], content: str) -> bool:
    """Whether there is nothing but a text, and neither a tag nor a picture can be in it."""
    if not FIRST_CHARACTERS.isdisjoint(content) or "data:" in content.lower():
        return False
    return not any(value and name not in ("role", "content") for name, value in message.items())


def joined(parts: Iterable[AnswerPart]) -> tuple[str, str, tuple[Picture | NotShown, ...]]:
    """The thought, the text and the other contents of all parts of an answer."""
    thought = text = ""
    others: list[Picture | NotShown] = []
    for part in parts:
        if isinstance(part, Delta):
            text += part.text
        elif isinstance(part, Picture | NotShown):
            others.append(part)
        elif part.takes_back:
            thought, text = thought + text, ""
        else:
            thought += part.text
    return thought.strip(), text, tuple(others)


def _is_marked(message: dict[str, Any]) -> bool:
    """Whether the server says that the words beside are thought."""
    if any(message.get(name) is True for name in _MARKS) or _is_thought(message.get("type")):
        return True
    more = message.get("extra_content")
    return isinstance(more, dict) and any(
        isinstance(one, dict) and any(one.get(name) is True for name in _MARKS) for one in (more, more.get("google"))
    )


def _is_thought(kind: object) -> bool:
    """Whether the `type` of a block or a message names thought."""
    return isinstance(kind, str) and any(word in kind for word in ("think", "reason", "thought"))


def _blocks(content: object) -> Iterator[tuple[Kind, str]]:
    """The words in a content that is an object or a list, in order. Raises TypeError for another one."""
    if isinstance(content, list):
        for one in content:
            yield from ((_SPEECH, one),) if isinstance(one, str) else _blocks(one) if one else ()
        return
    if not isinstance(content, dict):
        raise TypeError(f"the content is {type(content).__name__}")
    kind = content.get("type") or ""
    if kind_of(content) is not None:
        return
    if _is_marked(content):
        yield "thought", _words(content)
    elif kind in _TEXT_TYPES:
        found = next((content[name] for name in _TEXTS if content.get(name)), None)
        if isinstance(found, str):
            yield _SPEECH, found
        elif found is not None:
            yield from _blocks(found)
        elif content.keys().isdisjoint((*_TEXTS, "type")):
            raise TypeError(f"the content is an object with {', '.join(content)}")


def _words(value: object) -> str:
    """The words in a value, which is a text, or an object or a list that holds texts; "" if there are none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_words(one) for one in value)
    if isinstance(value, dict):
        return next((words for name in _WORDS if (words := _words(value.get(name)))), "")
    return ""
