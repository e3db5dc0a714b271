"""Reads the token usage that a server reports: in one chunk, in several, or nowhere.

A prompt of 0 tokens, or 0 tokens for an answer with text, counts as missing. Of contradictory numbers, the valid ones
are kept, the rest is counted here, and the call is marked as estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threadkeeper.chat.model import PartialUsage, TokenUsage

# A larger number is a mistake of the server.
_MOST_TOKENS = 10**9
_PROMPT, _COMPLETION = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_PROMPT_DETAILS, _COMPLETION_DETAILS = (tuple(f"{one}_details" for one in names) for names in (_PROMPT, _COMPLETION))
# Moonshot, DeepSeek and Anthropic have names of their own for it.
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_REASONING = ("reasoning_tokens",)
# Anthropic's names: what was read from its cache and what was written to it.
_OF_CACHE = ("cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(slots=True)
class UsageReading:
    """The usage of one answer, collected from its chunks.

    Some servers repeat the usage, some let it grow with every chunk, some report the prompt first and the answer last.
    The largest number of each kind counts.
    """

    _prompt: int | None = None
    _completion: int | None = None
    _total: int | None = None
    _cached: int | None = None
    _reasoning: int | None = None
    _of_cache: int = 0
    _has_text: bool = False
    _covers_text: bool = False
    comes_last: bool = False
    """Whether a chunk with usage and without text came after all text, as at the end of an answer."""

    def take(self, event: dict[str, Any], *, has_text: bool) -> None:
        """Read one chunk, or one whole answer. `has_text`: whether the chunk has text of the answer."""
        if has_text:
            self._has_text, self._covers_text, self.comes_last = True, False, False
        choices = event.get("choices")
        choice, groq = choices[0] if choices else None, event.get("x_groq")
        for holder in (event, choice, groq):
            # Moonshot has it in the choice, Groq in `x_groq`. This runs for every token, mostly in vain.
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict) and self._add(usage):
                self._covers_text, self.comes_last = True, not has_text

    def _add(self, usage: dict[str, Any]) -> bool:
        """Add the valid numbers; returns whether there are any. Others (negative, words, fractions) are left out."""
        prompt, completion, total = (_first(usage, names) for names in (_PROMPT, _COMPLETION, ("total_tokens",)))
        if prompt is None and completion is None and total is None:
            return False
        grown = max(prompt or 0, self._prompt or 0), max(completion or 0, self._completion or 0)
        if total is None and grown != (self._prompt or 0, self._completion or 0):
            # The total is that of an earlier chunk.
            self._total = None
        self._prompt, self._completion = _larger(self._prompt, prompt), _larger(self._completion, completion)
        self._total = _larger(self._total, total)
        self._cached = _larger(self._cached, _detail(usage, _PROMPT_DETAILS, _CACHED))
        self._of_cache = max(self._of_cache, sum(_count(usage.get(name)) or 0 for name in _OF_CACHE))
        self._reasoning = _larger(self._reasoning, _detail(usage, _COMPLETION_DETAILS, _REASONING))
        return True

    def report(self) -> TokenUsage | PartialUsage | None:
        """The usage if it is complete and without contradictions; else the part of it that can be used."""
        prompt, cached, reasoning = self._prompt or None, self._cached, self._reasoning
        completion, total = self._completion, self._total or None
        if self._has_text and not self._covers_text:
            # The text after the last report is not in it.
            completion = total = reasoning = None
        if self._has_text and completion == 0:
            completion = None
        if prompt is not None and self._of_cache > prompt and (total is None or total == prompt + (completion or 0)):
            # Gateways that pass Anthropic's numbers on: those of the cache are neither in the prompt nor in the total.
            prompt, total = prompt + self._of_cache, None
        if total is not None and prompt is not None and completion is not None:
            if total < prompt + completion:
                return None
            if cached is not None and cached > prompt and total == prompt + completion + cached:
                # As Anthropic counts: cached tokens beside those of the prompt.
                prompt += cached
            else:
                # As xAI and Gemini count: reasoning tokens beside the answer. The difference is billed as output.
                completion = total - prompt
        elif total is not None and (prompt is not None or completion is not None):
            rest = total - (prompt or completion or 0)
            if rest < 0:
                return None
            if prompt is None:
                prompt = rest or None
            elif rest or not self._has_text:
                completion = rest
        elif total is not None:
            return PartialUsage(total_tokens=total)
        return _checked(prompt, completion, cached, reasoning, is_confirmed=total is not None)


def _checked(
    prompt: int | None, completion: int | None, cached: int | None, reasoning: int | None, *, is_confirmed: bool
) -> TokenUsage | PartialUsage | None:
    """The usage without details that contradict it. `is_confirmed`: a total agrees with prompt and completion."""
    contradicts = False
    if completion is not None and reasoning is not None and reasoning > completion:
        contradicts = True
        if is_confirmed:
            reasoning = None
        else:
            completion += reasoning
    if prompt is not None and cached is not None and cached > prompt:
        contradicts = True
        prompt, cached = prompt if is_confirmed else None, None
    if prompt is None and completion is None:
        return None
    if prompt is None or completion is None or contradicts:
        return PartialUsage(prompt, completion, cached_tokens=cached, reasoning_tokens=reasoning)
    return TokenUsage(prompt, completion, cached, reasoning)


def _first(usage: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(usage.get(name))) is not None), None)


def _detail(usage: dict[str, Any], groups: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    for details in (*(usage.get(group) for group in groups), usage):
        if isinstance(details, dict) and (found := _first(details, names)) is not None:
            return found
    return None


def _count(value: object) -> int | None:
    """A valid number of tokens, else None. Some servers write whole numbers as text or with a decimal point."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if is_count else None  # type: ignore[return-value]


def _larger(known: int | None, count: int | None) -> int | None:
    return count if known is None else known if count is None else max(known, count)
