"""Reads the answers of Gemini: those of generateContent, and those of the Interactions API."""

from __future__ import annotations

from typing import Any

from threadkeeper.chat.model import PartialUsage, TokenUsage
from threadkeeper.chat.providers.openai_answers import read_reason
from threadkeeper.chat.providers.reported_errors import read_error
from threadkeeper.gateway.answer import Answer, token_counts


class _CountedAnswer(Answer):
    """An answer with its usage so far, whose counts have the names of its API; thought is counted beside the answer."""

    _PROMPT: str
    _TOOLS: str
    _CACHED: str
    _THOUGHT: str
    _ANSWER: str
    _TOTAL: str | None = None
    """Has the answer if it is not counted; None if it is no such sum."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    @property
    def usage(self) -> TokenUsage | PartialUsage | None:
        counts = self._counts
        if self._PROMPT not in counts:
            return None
        prompt = counts[self._PROMPT] + counts.get(self._TOOLS, 0)
        cached, thought = counts.get(self._CACHED), counts.get(self._THOUGHT)
        if cached is not None and cached > prompt:
            cached = None
        if self._ANSWER in counts:
            return TokenUsage(prompt, counts[self._ANSWER] + (thought or 0), cached, thought)
        total = None if self._TOTAL is None else counts.get(self._TOTAL)
        if total is not None and total >= prompt:
            return TokenUsage(prompt, total - prompt, cached, thought)
        return PartialUsage(prompt, cached_tokens=cached)


class GeminiAnswer(_CountedAnswer):
    """Gemini's generateContent. Each event has the usage so far."""

    _PROMPT, _TOOLS = "promptTokenCount", "toolUsePromptTokenCount"
    _CACHED, _THOUGHT = "cachedContentTokenCount", "thoughtsTokenCount"
    _ANSWER, _TOTAL = "candidatesTokenCount", "totalTokenCount"

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
        self._counts |= token_counts(event.get("usageMetadata"))
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


class InteractionAnswer(_CountedAnswer):
    """Gemini's Interactions API: the steps of an interaction, whole or as events; its usage comes with its end."""

    _PROMPT, _TOOLS = "total_input_tokens", "total_tool_use_tokens"
    _CACHED, _THOUGHT, _ANSWER = "total_cached_tokens", "total_thought_tokens", "total_output_tokens"

    def _take(self, event: Any) -> None:
        kind = event.get("event_type", "")
        if kind == "error" or event.get("error"):
            self.error = read_error(event)
        elif kind == "step.start":
            self._take_step(event.get("index"), event["step"])
        elif kind == "step.delta":
            self._take_delta(event.get("index"), event["delta"])
        else:
            self._take_interaction(event.get("interaction") if kind else event)

    def _take_interaction(self, interaction: dict[str, Any] | None) -> None:
        if interaction is None:
            return
        self._name(interaction.get("model"))
        self._identify(interaction.get("id"))
        self._take_tier(interaction)
        if interaction.get("errors"):
            self.error = read_error(interaction)
        if (status := interaction.get("status")) not in (None, "in_progress"):
            self.reason = str(status)
        self._counts |= token_counts(interaction.get("usage"))
        # The end of a stream may repeat its steps.
        if not self._texts and not self._calls and not self.thought_characters:
            for place, step in enumerate(interaction.get("steps") or ()):
                self._take_step(place, step)

    def _take_step(self, place: object, step: dict[str, Any]) -> None:
        kind = str(step.get("type"))
        if kind == "model_output":
            for part in step.get("content") or ():
                self._write(part.get("text"))
        elif kind == "thought":
            for part in step.get("summary") or ():
                self._think(part.get("text"))
        elif kind.endswith("_call"):
            self._call(place, step.get("name") or kind, step.get("arguments"))

    def _take_delta(self, place: object, delta: dict[str, Any]) -> None:
        kind = str(delta.get("type"))
        if kind == "text":
            self._write(delta.get("text"))
        elif kind == "thought_summary":
            self._think((delta.get("content") or {}).get("text"))
        elif kind == "arguments_delta":
            self._call(place, arguments=delta.get("arguments"))
