"""Reads the answers of providers, in each of their dialects: model, tokens, text, end and error.

An answer comes whole or as the events of a stream; both go through `take`, event by event. What an event lacks stays
None. Nothing here raises for what a provider sends: an event that cannot be read is counted in `unread`.

The text of an answer is what the model says, not what it thinks. If it says nothing, the text is the tools that it
calls, or else the words with which the provider refuses.
"""

from __future__ import annotations

import json
from typing import Any

from threadkeeper.chat.model import Delta, PartialUsage, Thought, TokenUsage
from threadkeeper.chat.providers.openai_answers import read_reason
from threadkeeper.chat.providers.reported_errors import ReportedError, error_of_choice, find_error, read_error
from threadkeeper.chat.providers.reported_usage import UsageReading
from threadkeeper.chat.providers.thought import AnswerReader, read_message
from threadkeeper.gateway.dialects import Dialect

_MOST_CHARACTERS = 1_000_000
_MOST_TOKENS = 10**9
_LONGEST_NAME = 200


class Answer:
    """What is known of one answer so far."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.id: str | None = None
        self.service_tier: str | None = None
        self.reason: str | None = None
        self.error: ReportedError | None = None
        self.unread = 0
        self.thought_characters = 0
        self._texts: list[str] = []
        self._characters = 0
        # By their place in the answer: the name of a tool, and its arguments.
        self._calls: dict[object, tuple[str, list[str]]] = {}
        self._refusals: list[str] = []
        self._usage = UsageReading()

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def usage(self) -> TokenUsage | PartialUsage | None:
        """The tokens that the provider reported."""
        return self._usage.report()

    def take(self, event: Any) -> None:
        """Take one event of a stream, or the whole answer."""
        try:
            self._take(event)
        except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
            self.unread += 1

    def refuse(self, body: object) -> None:
        """Take the body of a response with an error status."""
        self.error = read_error(body)

    def end(self) -> None:
        """Nothing follows."""
        if not self._texts:
            for name, arguments in self._calls.values():
                self._write(f"{name}({''.join(arguments)})\n")
        if not self._texts:
            for words in self._refusals:
                self._write(words)

    def _take(self, event: Any) -> None:
        raise NotImplementedError

    def _write(self, text: object) -> None:
        if isinstance(text, str) and text and self._characters < _MOST_CHARACTERS:
            self._texts.append(text)
            self._characters += len(text)

    def _think(self, text: object) -> None:
        self.thought_characters += len(text) if isinstance(text, str) else 0

    def _refuse(self, words: object) -> None:
        if isinstance(words, str) and words:
            self._refusals.append(words)

    def _call(self, place: object, name: object = None, arguments: object = None) -> None:
        """A tool that is called, or more of its arguments: text, or their value."""
        known, parts = self._calls.get(place, ("", []))
        if arguments:
            parts.append(arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
        self._calls[place] = str(name) if name else known, parts

    def _name(self, model: object) -> None:
        if isinstance(model, str) and model.strip():
            self.model = model.strip()[:_LONGEST_NAME]

    def _identify(self, given: object) -> None:
        if isinstance(given, str) and given.strip():
            self.id = given.strip()[:_LONGEST_NAME]

    def _take_tier(self, holder: dict[str, Any]) -> None:
        """The service tier that was used. Only the end of a stream may name it."""
        if isinstance(tier := holder.get("service_tier"), str) and tier:
            self.service_tier = tier


class OpenAIAnswer(Answer):
    """Chat completions and completions; embeddings, images, audio and moderations, which have `model` and `usage`."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = AnswerReader()

    def _take(self, event: Any) -> None:
        if (found := find_error(event)) is not None:
            self.error = found
            return
        self._name(event.get("model"))
        self._identify(event.get("id"))
        self._take_tier(event)
        has_text = False
        for choice in event.get("choices") or ():
            has_text = self._take_choice(choice) or has_text
        if isinstance(event.get("text"), str):
            # A transcription.
            self._write(event["text"])
        self._usage.take(event, has_text=has_text)

    def _take_choice(self, choice: dict[str, Any]) -> bool:
        if (found := error_of_choice(choice)) is not None:
            self.error = found
            return False
        self.reason = read_reason(choice.get("finish_reason")) or self.reason
        if choice.get("index"):
            # The text is that of the first choice; the tokens are those of all.
            return False
        before = self._characters
        if (message := choice.get("message")) is not None:
            thought, text, _ = read_message(message)
            self.thought_characters += len(thought)
            self._write(text)
            self._take_calls(message.get("tool_calls"))
            # A whole answer has its usage beside the text.
            return False
        if delta := choice.get("delta"):
            has_words = self._reader.take(delta)
            self._take_calls(delta.get("tool_calls"))
            self._drain()
            return has_words
        self._write(choice.get("text"))
        return self._characters > before

    def _take_calls(self, calls: Any) -> None:
        for position, call in enumerate(calls or ()):
            function = call.get("function") or {}
            self._call(call.get("index", position), function.get("name"), function.get("arguments"))

    def _drain(self) -> None:
        for event in self._reader.events():
            if isinstance(event, Delta):
                self._write(event.text)
            elif isinstance(event, Thought):
                self.thought_characters += len(event.text)

    def end(self) -> None:
        self._reader.end()
        self._drain()
        super().end()


_SPOKEN = ("response.output_text.delta", "response.refusal.delta")
_THOUGHT = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_ARGUMENTS = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
_ITEMS = ("response.output_item.added", "response.output_item.done")


class ResponsesAnswer(Answer):
    """OpenAI's Responses: usage is in `response.completed` and its like."""

    def _take(self, event: Any) -> None:
        kind = event.get("type", "")
        if kind in _SPOKEN:
            self._write(event.get("delta"))
            return
        if kind in _THOUGHT:
            self._think(event.get("delta"))
            return
        if kind in _ARGUMENTS:
            self._call(event.get("output_index"), arguments=event.get("delta"))
            return
        if kind in _ITEMS:
            self._take_tool(event.get("output_index"), event["item"])
            return
        if kind == "error" or (kind == "" and event.get("error") and "output" not in event):
            self.error = read_error({"error": event.get("error") or event})
            return
        response = event.get("response") if kind.startswith("response.") else event
        if isinstance(response, dict):
            self._take_response(response)

    def _take_response(self, response: dict[str, Any]) -> None:
        self._name(response.get("model"))
        self._identify(response.get("id"))
        self._take_tier(response)
        if response.get("error"):
            self.error = read_error({"error": response["error"]})
        if response.get("status") in ("completed", "incomplete", "failed", "cancelled"):
            self.reason = (response.get("incomplete_details") or {}).get("reason") or response["status"]
        is_new = not self._texts and not self.thought_characters
        for place, item in enumerate(response.get("output") or ()):
            self._take_tool(place, item)
            if is_new:
                self._take_words(item)
        if isinstance(response.get("usage"), dict):
            self._usage.take({"usage": response["usage"]}, has_text=False)

    def _take_words(self, item: dict[str, Any]) -> None:
        is_thought = item.get("type") == "reasoning"
        parts = [*(item.get("content") or ()), *((item.get("summary") or ()) if is_thought else ())]
        for part in parts:
            words = part.get("text") or part.get("refusal")
            if is_thought:
                self._think(words)
            else:
                self._write(words)

    def _take_tool(self, place: object, item: dict[str, Any]) -> None:
        """An item that calls a tool. It is whole, or its arguments follow."""
        kind = item.get("type", "")
        if kind.endswith("_call"):
            self._calls.pop(place, None)
            given = (item.get(name) for name in ("arguments", "input", "action", "code"))
            self._call(place, item.get("name") or kind, next(filter(None, given), None))


class AnthropicAnswer(Answer):
    """Anthropic's Messages. `message_start` has the tokens of the prompt, `message_delta` those of the answer.

    Anthropic counts what it read from its cache and wrote to it beside `input_tokens`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    @property
    def usage(self) -> TokenUsage | PartialUsage | None:
        counts = self._counts
        if "input_tokens" not in counts:
            return None
        cached = counts.get("cache_read_input_tokens")
        prompt = counts["input_tokens"] + (cached or 0) + counts.get("cache_creation_input_tokens", 0)
        if "output_tokens" not in counts:
            return PartialUsage(prompt, cached_tokens=cached)
        return TokenUsage(prompt, counts["output_tokens"], cached)

    def _take(self, event: Any) -> None:
        kind = event.get("type")
        if kind == "error":
            self.error = read_error(event)
        elif kind == "message":
            self._take_message(event)
            self._count(event.get("usage"))
        elif kind == "message_start":
            self._take_message(event["message"])
            # Its output_tokens are those of the first event, not of the answer.
            self._count({**(event["message"].get("usage") or {}), "output_tokens": None})
        elif kind == "message_delta":
            self._take_end(event.get("delta") or {})
            self._count(event.get("usage"))
        elif kind == "content_block_start":
            self._take_block(event.get("index"), event.get("content_block") or {})
        elif kind == "content_block_delta":
            self._take_block(event.get("index"), event.get("delta") or {})
        elif kind is None and isinstance(event.get("input_tokens"), int):
            # Only counted, not asked.
            return

    def _take_message(self, message: dict[str, Any]) -> None:
        self._name(message.get("model"))
        self._identify(message.get("id"))
        self._take_end(message)
        for place, block in enumerate(message.get("content") or ()):
            self._take_block(place, block)

    def _take_end(self, end: dict[str, Any]) -> None:
        self.reason = read_reason(end.get("stop_reason")) or self.reason
        self._refuse((end.get("stop_details") or {}).get("explanation"))

    def _take_block(self, place: object, block: dict[str, Any]) -> None:
        self._think(block.get("thinking"))
        self._write(block.get("text"))
        if str(block.get("type")).endswith("tool_use") or block.get("partial_json"):
            # A stream begins with an empty object, and sends the arguments in pieces.
            self._call(place, block.get("name"), block.get("partial_json") or block.get("input"))

    def _count(self, usage: Any) -> None:
        self._counts |= _counts(usage)
        if isinstance(usage, dict):
            self._take_tier(usage)


class GeminiAnswer(Answer):
    """Gemini's generateContent. Each event has the usage so far; thought is counted beside the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    @property
    def usage(self) -> TokenUsage | PartialUsage | None:
        counts = self._counts
        if "promptTokenCount" not in counts:
            return None
        prompt = counts["promptTokenCount"] + counts.get("toolUsePromptTokenCount", 0)
        cached, thought = counts.get("cachedContentTokenCount"), counts.get("thoughtsTokenCount")
        if cached is not None and cached > prompt:
            cached = None
        if "candidatesTokenCount" in counts:
            return TokenUsage(prompt, counts["candidatesTokenCount"] + (thought or 0), cached, thought)
        if "totalTokenCount" in counts and counts["totalTokenCount"] >= prompt:
            return TokenUsage(prompt, counts["totalTokenCount"] - prompt, cached, thought)
        return PartialUsage(prompt, cached_tokens=cached)

    def _take(self, event: Any) -> None:
        if isinstance(event, list):
            # A stream without `alt=sse` is one list.
            for one in event:
                self._take(one)
            return
        if event.get("error"):
            self.error = read_error(event)
            return
        self._name(event.get("modelVersion"))
        self._identify(event.get("responseId"))
        self._counts |= _counts(event.get("usageMetadata"))
        feedback = event.get("promptFeedback") or {}
        if blocked := feedback.get("blockReason"):
            self.reason = str(blocked)
            self._refuse(feedback.get("blockReasonMessage"))
        for candidate in event.get("candidates") or ():
            self.reason = read_reason(candidate.get("finishReason")) or self.reason
            if candidate.get("index"):
                continue
            self._refuse(candidate.get("finishMessage"))
            for part in (candidate.get("content") or {}).get("parts") or ():
                self._take_part(part)

    def _take_part(self, part: dict[str, Any]) -> None:
        if part.get("thought") is True:
            self._think(part.get("text"))
            return
        self._write(part.get("text"))
        if (called := part.get("functionCall")) is not None:
            self._call(len(self._calls), called.get("name"), called.get("args"))


def _counts(usage: Any) -> dict[str, int]:
    """The valid numbers of tokens in a report; a larger one is a mistake of the provider."""
    pairs = usage.items() if isinstance(usage, dict) else ()
    return {name: count for name, count in pairs if type(count) is int and 0 <= count <= _MOST_TOKENS}


_ANSWERS: dict[Dialect, type[Answer]] = {
    "openai": OpenAIAnswer,
    "responses": ResponsesAnswer,
    "anthropic": AnthropicAnswer,
    "gemini": GeminiAnswer,
}


def answer_of(dialect: Dialect) -> Answer:
    """An empty answer in this dialect."""
    return _ANSWERS[dialect]()
