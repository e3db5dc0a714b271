"""Parses the answer of a chat completions server: the chunks of a stream, or one whole completion.

Servers differ: usage comes in a chunk of its own, in several, or never; an error can stand in place of a chunk, in many
forms; a server that does not stream sends one completion, under any content type; the end comes without [DONE]. A
finish_reason, or usage after the text and before [DONE], proves that the answer is complete. Whether [DONE] alone does
depends on the server, so the caller decides.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import jiter

from threadkeeper.chat.model import (
    AnswerPart,
    Completion,
    ErrorKind,
    Finish,
    ModelError,
    PartialUsage,
    TokenUsage,
    plain_reason,
)
from threadkeeper.chat.providers.first_choice import FirstChoice
from threadkeeper.chat.providers.openai_errors import clean, event_error
from threadkeeper.chat.providers.reported_errors import error_of_choice, find_error, named_error
from threadkeeper.chat.providers.reported_usage import UsageReading
from threadkeeper.chat.providers.sse import COMMENT, ERROR, MESSAGE, OBJECT, STRAY, Event, EventDecoder
from threadkeeper.chat.providers.thought import AnswerReader, joined, read_message

logger = logging.getLogger(__name__)

# The server says by these that it could not finish: OpenRouter and others, vLLM, DeepSeek, Zhipu.
_FAILED = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "network_error",
                     "server_error", "insufficient_system_resource"})  # fmt: skip
_MOST_WORDS = 300
_LONGEST_PIECE = 40
# Proxies that wrap a line once more: `data: data: {…}`, and comments and signs of life in place of JSON.
_WRAPPED = re.compile(rb"(?:data: *)+")
_ALIVE = re.compile(rb"\[?(?:ping|heartbeat|keep-?alive)\]?|:.*", re.IGNORECASE | re.DOTALL)
ENDS = (b"[DONE]", b'"[DONE]"', b"data: [DONE]", b"data:[DONE]")
_TROUBLE = re.compile(rb"error|exception|(?<!de)fault\b|fail", re.IGNORECASE)
_EVENT = re.compile(rb"^(?:data|event|id|retry)?:", re.MULTILINE)
_ERROR_LINE = re.compile(rb"^error\b[:\s]*(.*)", re.IGNORECASE | re.MULTILINE | re.DOTALL)


class StreamReading:
    """The state of one streamed answer. `failure` is set if the stream contains an error.

    Args:
        secret: is removed from what the server says.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._decoder = EventDecoder()
        self._answer = AnswerReader()
        self._first_choice = FirstChoice()
        self._events = 0
        self._has_text = self._has_choices = False
        self._reason: str | None = None
        self._usage = UsageReading()
        # What the server said outside of the answer, for the log; and whether that may have been an error.
        self._said: bytes = b""
        self._has_stray = False
        self._is_whole = False
        # The text that came in messages, as from a server that streams them in place of deltas.
        self._by_messages = ""
        self._repeats = False
        self.model: str | None = None
        self.service_tier: str | None = None
        self.response_id: str | None = None
        self.done = False
        self.failure: ModelError | None = None

    @property
    def complete(self) -> bool:
        """Whether the text is complete, so that a connection that breaks now loses no text."""
        return self.done or self._reason is not None

    @property
    def has_ending(self) -> bool:
        """Whether the server ended the stream with a finish_reason or usage."""
        return not self._is_whole and (self._reason is not None or self._usage.comes_last)

    @property
    def is_unproven(self) -> bool:
        """Whether text ended with nothing but [DONE]."""
        is_proven = self._reason is not None or self._usage.comes_last
        return self.failure is None and self.done and self._has_text and not is_proven

    def refuse_end(self) -> None:
        """[DONE] alone ends no answer of this server, so the answer is not complete."""
        self.failure = self.bill(self._unproven_end())

    def feed(self, chunk: bytes) -> list[AnswerPart]:
        """The parts of the answer that this chunk of bytes completes: one token, several, or none."""
        self._read(self._decoder.feed(chunk))
        return self.rest() if self.failure is not None else self._answer.events()

    def rest(self) -> list[AnswerPart]:
        """What was held back, because it could have become a tag or be another choice; nothing follows it."""
        self._take_held()
        self._answer.end()
        return self._answer.events()

    def end(self) -> list[AnswerPart]:
        """The last parts, after the last byte. Sets `failure` if the answer is not complete."""
        self._read(self._decoder.finish())
        self._take_held()
        if self.failure is None:
            self.failure = self._unfinished()
        if self.failure is not None:
            self.bill(self.failure)
        return self.rest()

    def bill(self, error: ModelError) -> ModelError:
        """The error with the usage that the server has reported so far."""
        error.usage, error.partial = _parts(self._usage)
        return error

    def finish(self) -> Finish:
        if not_shown := self._answer.others.not_shown:
            logger.warning("the answer of %s has %s, which the chat does not show", self.model, sorted(not_shown))
        if self._first_choice.has_others:
            logger.warning("%s sent several choices; the first one is the answer", self.model)
        usage, partial = _parts(self._usage)
        return Finish(self._reason, usage, self.model, partial, self.service_tier, self.response_id)

    def _read(self, events: list[Event]) -> None:
        for kind, payload in events:
            if self.done or self.failure:
                break
            if payload.startswith(ENDS):
                self.done = True
                break
            self._try(payload, self._take, kind, payload)

    def _take_held(self) -> None:
        for choice in self._first_choice.rest():
            self._try(b"", self._take_choice, choice)

    def _try(self, payload: bytes, take: Callable[..., object], *what: Any) -> None:
        """Take something of the server. What cannot be read fails the answer, if this is not complete already."""
        was_complete = self._reason is not None
        try:
            take(*what)
        except ModelError as error:
            self.failure = self.bill(error)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            if was_complete:
                self._said = payload[:_MOST_WORDS]
                return
            detail = clean(f"unreadable event ({error}): {payload[:200]!r}", self._secret)
            self.failure = self.bill(ModelError("server", detail))

    def _take(self, kind: int, payload: bytes) -> None:
        """Take one event. Raises ModelError for an error that the server reports."""
        if kind != MESSAGE:
            if kind == ERROR:
                raise event_error(named_error(payload), self._secret)
            self._take_other(kind, payload)
            return
        if _ALIVE.fullmatch(payload):
            self._take_other(COMMENT, payload)
            return
        event = parsed_event(payload)
        self._events += 1
        if event:
            self._take_chunk(event)

    def _take_other(self, kind: int, payload: bytes) -> None:
        """A comment, or lines outside of all events: an error, a chunk, a whole completion, or words for the log."""
        try:
            event = json.loads(payload)
        except (ValueError, RecursionError):
            event = None
        if (found := find_error(event)) is not None:
            raise event_error(found, self._secret)
        if found_line := _ERROR_LINE.search(payload):
            raise event_error(named_error(found_line.group(1)), self._secret)
        if kind in (OBJECT, STRAY) and isinstance(event, dict) and "choices" in event:
            if _is_chunk(event, is_first=not self._events):
                self._events += 1
                self._take_chunk(event)
                return
            if not self._events:
                self._take_completion(event, payload)
                return
        is_doubtful = kind in (OBJECT, STRAY) or _TROUBLE.search(payload) is not None
        if is_doubtful or not self._has_stray:
            self._said = payload[:_MOST_WORDS]
            self._has_stray = self._has_stray or is_doubtful

    def _take_completion(self, event: dict[str, Any], body: bytes) -> None:
        """Take the completion of a server that does not stream."""
        self._usage.take(event, has_text=False)
        completion = read_completion(body, self._secret)
        self._usage.take(event, has_text=bool(completion.text or completion.thought))
        self._answer.put(completion.thought, completion.text, completion.others)
        self.model, self._reason = completion.finish.model, completion.finish.reason
        self.service_tier = completion.finish.service_tier
        self.response_id = completion.finish.response_id
        self.done = self._is_whole = self._has_choices = True

    def _take_chunk(self, event: dict[str, Any]) -> None:
        if (found := find_error(event)) is not None:
            raise event_error(found, self._secret)
        if self.model is None:
            self.model = _name(event.get("model"))
        if (tier := event.get("service_tier")) is not None:
            # The last chunk may name another one than the first.
            self.service_tier = _name(tier) or self.service_tier
        if self.response_id is None:
            self.response_id = _name(event.get("id"))
        choices = event.get("choices")
        self._has_choices = self._has_choices or bool(choices)
        has_text = False
        if choices:
            for choice in self._first_choice.of(choices):
                has_text = self._take_choice(choice) or has_text
            has_text = has_text or self._first_choice.holds
        self._usage.take(event, has_text=has_text)
        if "choices" not in event and "usage" not in event:
            said = json.dumps(event).encode()
            self._said, self._has_stray = said[:_MOST_WORDS], self._has_stray or bool(_TROUBLE.search(said))

    def _take_choice(self, choice: dict[str, Any]) -> bool:
        """Take the words of a choice; returns whether there are any, of text or thought."""
        if (found := error_of_choice(choice)) is not None:
            raise event_error(found, self._secret)
        if reason := read_reason(choice.get("finish_reason")):
            self._reason = reason
        delta = choice.get("delta")
        if not delta and (message := choice.get("message")) and (self._by_messages or not self._has_text):
            # A server that does not stream, in an event all the same, or that streams messages: pieces, or the whole
            # text so far. MiniMax repeats the whole text behind its deltas.
            delta = self._new_of(message)
        if delta is None and isinstance(choice.get("text"), str):
            # The older protocol, of completions.
            delta = {"content": choice["text"]}
        has_words = self._answer.take(delta) if delta else False
        self._has_text = self._has_text or has_words
        return has_words

    def _new_of(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message without the text that an earlier one had."""
        content = message.get("content")
        if not isinstance(content, str):
            return message
        before = self._by_messages
        # A piece can be the same word twice.
        if before and content.startswith(before) and (content != before or len(before) > _LONGEST_PIECE):
            self._repeats = True
        new = content.removeprefix(before) if self._repeats else content
        self._by_messages = before + new
        return {**message, "content": new}

    def _unfinished(self) -> ModelError | None:
        """The reason why the answer is not complete; None if it is."""
        if self._reason is not None:
            failed = plain_reason(self._reason) in _FAILED
            return self._error("server", f"the finish_reason is {self._reason}") if failed else None
        no_event = "the answer contains no event of a chat completions stream"
        if self.done and self._said and not self._has_choices:
            return self._error("server", no_event)
        if self.done:
            return None if self._usage.comes_last or not self._has_stray else self._unproven_end()
        if self._events:
            return self._error("cut", "the stream ended without a finish_reason and without [DONE]")
        empty = "the answer is empty"
        return self._error("server", no_event if self._said else empty)

    def _unproven_end(self) -> ModelError:
        return self._error("cut", "[DONE] came with neither a finish_reason nor usage")

    def _error(self, kind: ErrorKind, detail: str) -> ModelError:
        said = self._said.decode(errors="replace")
        return ModelError(kind, clean(f"{detail}; the server said: {said}" if said else detail, self._secret))


def _is_chunk(event: dict[str, Any], *, is_first: bool) -> bool:
    """Whether a line of no event is a chunk, as in a stream of NDJSON, and not a whole completion."""
    if event.get("object") == "chat.completion.chunk":
        return True
    choices = event["choices"]
    if not choices:
        # Behind chunks, it ends them with the usage; alone, it is a completion that a filter emptied.
        return "usage" not in event or not is_first
    return isinstance(choices, list) and isinstance(choices[0], dict) and "message" not in choices[0]


def read_completion(body: bytes, secret: str) -> Completion:
    """Parse a completion. Some servers send events although no stream was asked for, or [DONE] behind the completion.

    Raises:
        ModelError: the body is an error object, or (kind "server") not a completion.
    """
    if _EVENT.search(body):
        return _read_stream(body, secret)
    usage = UsageReading()
    try:
        answer = json.loads(body)
        if (found := find_error(answer)) is not None:
            raise event_error(found, secret)
        usage.take(answer, has_text=False)
        choice = answer["choices"][0]
        if (found := error_of_choice(choice)) is not None:
            raise event_error(found, secret)
        thought, text, others = read_message(choice["message"])
        reason = read_reason(choice.get("finish_reason"))
        usage = UsageReading()
        usage.take(answer, has_text=bool(text or thought))
        if plain_reason(reason) in _FAILED:
            raise ModelError("server", clean(f"the finish_reason is {reason}", secret))
        reported, partial = _parts(usage)
        named = (_name(answer.get(name)) for name in ("service_tier", "id"))
        finish = Finish(reason, reported, _name(answer.get("model")), partial, *named)
        return Completion(text, finish, thought, others)
    except ModelError as error:
        error.usage, error.partial = _parts(usage)
        raise
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        shown = body[:200].decode("utf-8", "replace")
        detail = clean(f"not a completion ({type(error).__name__} {error}): {shown}", secret)
        failure = ModelError("server", detail)
        failure.usage, failure.partial = _parts(usage)
        raise failure from None


def _read_stream(body: bytes, secret: str) -> Completion:
    reading = StreamReading(secret)
    thought, text, others = joined([*reading.feed(body), *reading.end()])
    if reading.failure is not None:
        raise reading.failure
    return Completion(text, reading.finish(), thought, others)


def parsed_event(payload: bytes) -> Any:
    """The JSON value. jiter needs a fifth of the time, but refuses some of what `json` takes, as half a character."""
    try:
        return jiter.from_json(payload)
    except ValueError:
        return json.loads(_WRAPPED.sub(b"", payload, count=1) if payload.startswith(b"data:") else payload)


def _parts(reading: UsageReading) -> tuple[TokenUsage | None, PartialUsage | None]:
    report = reading.report()
    if isinstance(report, TokenUsage):
        return report, None
    return None, report


def read_reason(value: object) -> str | None:
    """The finish_reason; None if it is empty. Some servers write "null", some an object: `{"type": "stop"}`."""
    if isinstance(value, dict):
        value = value.get("type")
    name = _name(value)
    return None if name is None or name.lower() in ("null", "none") else name


def _name(value: object) -> str | None:
    """A name; None if it is empty, as the model is in the first chunk of Azure."""
    return value.strip() or None if isinstance(value, str) else None
