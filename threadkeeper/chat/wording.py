"""The sentences of the chat for its users. Their texts are in `language/messages`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from functools import cache, reduce
from typing import Literal, cast, get_args

from datalayer.records.usage import Limit, LimitStanding
from threadkeeper.chat.model import ContentKind, ModelError
from threadkeeper.language.catalogue import CHAT
from threadkeeper.language.negotiation import language_for
from threadkeeper.language.numbers import number

AnswerMark = Literal["stopped", "cut", "length", "filtered", "picture"]
_MARKS: tuple[AnswerMark, ...] = get_args(AnswerMark)
# The beginnings of the keys of errors and notices, which are stored as messages.
_SPOKEN = (
    "error_",
    "attachment_",
    "notice_",
    "not_saved",
    "question_not_answered",
    "something_failed",
    "older_left_out",
    "files_left_out",
    "older_refused",
    "pictures_left_out",
    "files_dropped",
    "account_disabled",
    "stopped_before",
)
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class Starter:
    label: str
    message: str


def say(key: str, language: str | None, **values: object) -> str:
    """The sentence with this key. Raises KeyError for an unknown key or a missing value."""
    return CHAT.say(key, language, **values)


def explain(error: ModelError, language: str | None, *, model: str) -> str:
    """The sentence for a user who got no answer, or no complete one, from `model`."""
    if error.kind == "too_long" and "tokens" in error.values:
        return say("error_too_long_counted", language, **error.values)
    if error.kind == "thought_limit":
        setting, maximum = say("setting_max_tokens", language), error.values.get("max_tokens")
        key = "error_thought_limit" if maximum is None else "error_thought_limit_set"
        return say(key, language, setting=setting, tokens=maximum or "")
    if error.kind == "rate_limit" and isinstance(wait := error.values.get("wait"), int | float):
        return say("error_rate_limit_wait", language, seconds=math.ceil(wait))
    standing = error.values.get("standing")
    if error.kind == "over_limit" and isinstance(standing, LimitStanding):
        return _say_over(standing, error.values.get("need"), language)
    contents = say_contents(cast("Iterable[ContentKind]", error.values.get("kinds", ())), language)
    return say(f"error_{error.kind}", language, model=model, contents=contents)


def _say_over(standing: LimitStanding, need: object, language: str | None) -> str:
    """Why a limit refuses a question; `need` if a shorter one would be answered."""
    left = _say_rounded(standing.left, standing.limit, language, ROUND_DOWN)
    if isinstance(need, Decimal):
        needed = _say_rounded(need, standing.limit, language, ROUND_UP)
        return _of_limit("error_little_left", standing, language, left=left, need=needed)
    if standing.left > 0:
        return _of_limit("error_too_little", standing, language, left=left)
    return _of_limit("error_over_limit", standing, language)


def say_contents(kinds: Iterable[ContentKind], language: str | None) -> str:
    """What an answer has beside its text, as a part of a sentence."""
    said = [say(f"contents_{kind}", language) for kind in kinds]
    return reduce(lambda first, second: say("contents_two", language, first=first, second=second), said) if said else ""


def say_nearly_used(standing: LimitStanding, language: str | None) -> str:
    """The warning that a limit is nearly reached."""
    percent = int(standing.used / standing.limit.amount * 100) if standing.limit.amount else 100
    return _of_limit("limit_nearly", standing, language, percent=min(percent, 100))


def say_dollars(amount: Decimal, language: str | None) -> str:
    """An amount with cents; below ten cents, with two significant digits."""
    text = number(amount, language_for(language), digits=_digits(amount))
    return say("dollars", language, dollars=text)


def _digits(dollars: Decimal) -> int:
    return 2 if dollars >= Decimal("0.1") or not dollars else 1 - dollars.adjusted()


def _say_rounded(amount: Decimal, limit: Limit, language: str | None, rounding: str) -> str:
    """An amount of tokens or dollars, rounded so that the need never looks the same as the rest of the limit."""
    if limit.unit == "tokens":
        return number(amount.to_integral_value(rounding), language_for(language))
    return say_dollars(amount.quantize(Decimal(1).scaleb(-_digits(amount)), rounding), language)


def _of_limit(sentence: str, standing: LimitStanding, language: str | None, **values: object) -> str:
    limit, day = standing.limit, standing.limit.period == "day"
    amount = (
        say("limit_tokens", language, tokens=round(limit.amount))
        if limit.unit == "tokens"
        else say_dollars(limit.amount, language)
    )
    return say(
        f"{sentence}_{'project' if limit.scope == 'project' else 'user'}",
        language,
        amount=amount,
        period=say("limit_today" if day else "limit_this_month", language),
        again=say("limit_tomorrow" if day else "limit_next_month", language),
        **values,
    )


def starters(language: str | None) -> list[Starter]:
    names = ("explain", "improve", "plan", "code")
    return [Starter(say(f"starter_{name}", language), say(f"starter_{name}_message", language)) for name in names]


def mark_answer(text: str, mark: AnswerMark, language: str | None) -> str:
    """The text of an incomplete answer as it is shown and stored: with a line under it that says why it ends.

    An answer of nothing but pictures has a line that says so.
    """
    return f"{text.rstrip()}\n\n*{say(f'mark_{mark}', language)}*".lstrip()


def unmark_answer(text: str) -> str:
    """The text as the model wrote it, without that line, for use as context."""
    for mark in _MARKS:
        for sentence in CHAT.forms(f"mark_{mark}"):
            if text.endswith(f"*{sentence}*"):
                return text.removesuffix(f"*{sentence}*").rstrip()
    return text


def mark_of(text: str) -> AnswerMark | None:
    """The mark that the text of an incomplete answer ends with."""
    ends = ((mark, f"*{sentence}*") for mark in _MARKS for sentence in CHAT.forms(f"mark_{mark}"))
    return next((mark for mark, end in ends if text.endswith(end)), None)


def is_own_message(text: str) -> bool:
    """Whether a text consists of this catalogue's messages: an error or a notice of the chat, not words of a model."""
    paragraphs = [one for one in text.split("\n\n") if one.strip()]
    return bool(paragraphs) and all(_own_messages().fullmatch(one) for one in paragraphs)


@cache
def _own_messages() -> re.Pattern[str]:
    spoken = (sentence for key in CHAT if key.startswith(_SPOKEN) for sentence in CHAT.forms(key))
    patterns = (".+".join(map(re.escape, _PLACEHOLDER.split(sentence))) for sentence in spoken)
    ways_out = "|".join(map(re.escape, CHAT.forms("way_out_files")))
    return re.compile(f"(?:{'|'.join(patterns)})(?: (?:{ways_out}))?", re.DOTALL)
