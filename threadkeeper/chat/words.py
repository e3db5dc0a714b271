"""Says to a user, in English or in Chinese, what the chat itself has to say; the sentences are in `sentences`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threadkeeper.chat.llm import ModelError
from threadkeeper.chat.sentences import SENTENCES
from threadkeeper.language import is_chinese

AnswerMark = Literal["stopped", "cut", "length", "filtered"]
_MARKS: tuple[AnswerMark, ...] = ("stopped", "cut", "length", "filtered")


@dataclass(frozen=True)
class Starter:
    label: str
    message: str


def say(key: str, language: str | None, **values: object) -> str:
    """Raises KeyError for a sentence that is not there or a value that is missing."""
    return SENTENCES[key][is_chinese(language)].format_map(values)


def explain(error: ModelError, language: str | None, *, model: str) -> str:
    """The sentence for a user to whom `model` gave no answer, or no more of it."""
    if error.kind == "too_long" and "tokens" in error.values:
        return say("error_too_long_counted", language, **error.values)
    return say(f"error_{error.kind}", language, model=model)


def starters(language: str | None) -> list[Starter]:
    names = ("explain", "improve", "plan", "code")
    return [Starter(say(f"starter_{name}", language), say(f"starter_{name}_message", language)) for name in names]


def mark_answer(text: str, mark: AnswerMark, language: str | None) -> str:
    """The answer as it is shown and stored when it is not whole: with a line under it that says why."""
    return f"{text.rstrip()}\n\n*{say(f'mark_{mark}', language)}*".lstrip()


def unmark_answer(text: str) -> str:
    """The answer as the model gave it, for use as context."""
    for mark in _MARKS:
        for sentence in SENTENCES[f"mark_{mark}"]:
            if text.endswith(f"*{sentence}*"):
                return text.removesuffix(f"*{sentence}*").rstrip()
    return text
