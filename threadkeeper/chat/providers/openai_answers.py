"""Parses the answer of a chat completions server: the chunks of a stream, or one whole completion.

Servers differ: usage comes in a chunk of its own, in the last one, or never; an error object can stand in place of a
chunk; the end comes without [DONE], or [DONE] comes without a finish_reason. Each of these is a regular end. Only a
stream that stops with neither was cut off.
"""

from __future__ import annotations

import json
from typing import Any

from threadkeeper.chat.model import Completion, Finish, ModelError, TokenUsage
from threadkeeper.chat.providers.openai_errors import clean, event_error
from threadkeeper.chat.providers.sse import EventDecoder

# A larger number is a mistake of the server.
_MOST_TOKENS = 10**9


class StreamReading:
    """The state of one streamed answer. `failure` is set if the stream contains an error."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._decoder = EventDecoder()
        self._events = 0
        self._reason: str | None = None
        self._usage: TokenUsage | None = None
        self._model: str | None = None
        self.done = False
        self.failure: ModelError | None = None

    @property
    def complete(self) -> bool:
        return self.done or self._reason is not None

    def feed(self, chunk: bytes) -> str:
        """The text that this chunk of bytes completes: one token, several, or none."""
        return self._read(self._decoder.feed(chunk))

    def end(self) -> str:
        """The last text, after the last byte. Sets `failure` if the answer is not complete."""
        text = self._read(self._decoder.finish())
        if not self.complete and self.failure is None:
            if self._events:
                self.failure = ModelError("cut", "the stream ended without a finish_reason and without [DONE]")
            else:
                self.failure = ModelError("server", "the answer contains no event of a chat completions stream")
        return text

    def finish(self) -> Finish:
        return Finish(self._reason, self._usage, self._model)

    def _read(self, payloads: list[bytes]) -> str:
        texts: list[str] = []
        for payload in payloads:
            if self.done or self.failure:
                break
            if payload.startswith(b"[DONE]"):
                self.done = True
                break
            try:
                event = json.loads(payload)
                self._events += 1
                if event.get("error"):
                    self.failure = event_error(event["error"], self._secret)
                    break
                texts.append(self._take(event))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                self.failure = ModelError(
                    "server", clean(f"unreadable event ({error}): {payload[:200]!r}", self._secret)
                )
        return "".join(texts)

    def _take(self, event: dict[str, Any]) -> str:
        if usage := event.get("usage"):
            self._usage = _usage(usage)
        if self._model is None:
            self._model = _name(event.get("model"))
        choices = event.get("choices")
        if not choices:
            return ""
        choice = choices[0]
        if reason := choice.get("finish_reason"):
            self._reason = reason
        delta = choice.get("delta")
        return _text(delta) if delta else ""


def read_completion(body: bytes, secret: str) -> Completion:
    """Parse a completion.

    Raises:
        ModelError: the body is an error object, or (kind "server") not a completion.
    """
    usage = None
    try:
        answer = json.loads(body)
        if answer.get("error"):
            raise event_error(answer["error"], secret)
        usage = _usage(answer.get("usage"))
        choice = answer["choices"][0]
        reason, model = _name(choice.get("finish_reason")), _name(answer.get("model"))
        return Completion(_text(choice["message"]), Finish(reason, usage, model))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        detail = clean(f"not a completion ({type(error).__name__} {error}): {body[:200]!r}", secret)
        failure = ModelError("server", detail)
        failure.usage = usage
        raise failure from None


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or message.get("refusal") or ""


def _usage(usage: object) -> TokenUsage | None:
    """The token usage; None if a number is missing or not valid, which does not fail the answer."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens") or 0)
    if prompt is None or completion is None:
        return None
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    return TokenUsage(prompt, completion, cached, _detail(usage, "completion_tokens_details", "reasoning_tokens"))


def _detail(usage: dict[str, Any], group: str, name: str) -> int | None:
    details = usage.get(group)
    return _count(details.get(name)) if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    """A valid number of tokens, else None. Some servers write whole numbers with a decimal point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if is_count else None  # type: ignore[return-value]


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None
