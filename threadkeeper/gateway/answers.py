"""Reads the answers of OpenAI and of Anthropic, and gives the reader for each dialect."""

from __future__ import annotations

from typing import Any

from threadkeeper.chat.model import Delta, PartialUsage, Thought, TokenUsage
from threadkeeper.chat.providers.openai_answers import read_reason
from threadkeeper.chat.providers.reported_errors import error_of_choice, find_error, read_error
from threadkeeper.chat.providers.thought import AnswerReader, read_message
from threadkeeper.gateway.answer import Answer, token_counts
from threadkeeper.gateway.dialects import Dialect
from threadkeeper.gateway.gemini_answers import GeminiAnswer, InteractionAnswer


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
        self._counts |= token_counts(usage)
        if isinstance(usage, dict):
            self._take_tier(usage)


_ANSWERS: dict[Dialect, type[Answer]] = {
    "openai": OpenAIAnswer,
    "responses": ResponsesAnswer,
    "anthropic": AnthropicAnswer,
    "gemini": GeminiAnswer,
    "interactions": InteractionAnswer,
}


def answer_of(dialect: Dialect) -> Answer:
    """An empty answer in this dialect."""
    return _ANSWERS[dialect]()
