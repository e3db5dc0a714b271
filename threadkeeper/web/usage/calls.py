"""The page of one call: request, times, outcome, tokens, cost with its prices, and messages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from datalayer.records.assistants import version_reference
from datalayer.records.usage import CallRow, LlmCall, LlmCallPayload
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.sentences import Say
from threadkeeper.web.usage.exports import record

# Characters shown of a message; the raw JSON below is complete.
LONGEST_SHOWN = 20_000
_RATES = ("input", "cached", "output")


@dataclass(frozen=True, slots=True)
class Message:
    """The text of a message. Images and files appear as their type in brackets."""

    role: str
    text: str
    is_cut: bool


def one_call(row: CallRow, payload: LlmCallPayload | None, zone: ZoneInfo, say: Say) -> dict[str, Any]:
    """The variables of the template."""
    raw = record(row) | {
        "messages": payload.messages if payload else None,
        "response": payload.response if payload else None,
    }
    return {
        "call": row.call,
        "row": row,
        "sections": _sections(row, zone, say),
        "payload": payload,
        "messages": [message_of(one) for one in (payload.messages if payload else None) or []],
        "response": payload and payload.response,
        "raw": json.dumps(raw, ensure_ascii=False, indent=2),
    }


def message_of(message: Mapping[str, Any]) -> Message:
    """The text of a message of any of the shapes that callers send."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    text = "\n\n".join(filter(None, (_text(part) for part in parts)))
    return Message(str(message.get("role", "?")), text[:LONGEST_SHOWN], len(text) > LONGEST_SHOWN)


def _text(part: Any) -> str:
    if part is None:
        return ""
    if isinstance(part, Mapping):
        return str(part["text"]) if "text" in part else f"[{part.get('type', '?')}]"
    return str(part)


def _assistant(call: LlmCall) -> str | None:
    if call.assistant is None or call.assistant_version is None:
        return call.assistant
    return version_reference(call.assistant, call.assistant_version)


def _sections(row: CallRow, zone: ZoneInfo, say: Say) -> list[tuple[str, list[tuple[str, str]]]]:
    """The sections of the page: a heading and its (name, value) lines. Missing values are left out."""
    call = row.call
    sections: list[tuple[str, list[tuple[str, str | None]]]] = [
        (
            say("section_call"),
            [
                (say("kind"), formats.named("kind", call.kind, say)),
                (say("model"), call.model),
                (say("answered_by"), call.answered_by if call.answered_by != call.model else None),
                (say("provider"), call.provider),
                (say("deployment"), call.deployment),
                (say("project"), row.project),
                (say("user"), row.user),
                (say("assistant"), _assistant(call)),
                (say("tags"), ", ".join(call.tags)),
                (say("library"), call.library),
                (say("operating_system"), call.operating_system),
            ],
        ),
        (
            say("section_time"),
            [
                (say("requested_at"), formats.moment(call.requested_at, zone, exact=True)),
                (say("responded_at"), formats.moment(call.responded_at, zone, exact=True)),
                (say("seconds"), formats.seconds(call.seconds, say)),
                (say("first_token"), formats.seconds(call.first_token_seconds, say)),
                (say("speed"), _with_unit(formats.speed(call.tokens_per_second, say), say("tokens_per_second"))),
                (say("is_streaming"), say("yes" if call.is_streaming else "no")),
                (say("attempt"), str(call.attempt)),
            ],
        ),
        (
            say("section_outcome"),
            [
                (say("status"), None if call.status_code is None else str(call.status_code)),
                (say("finish_reason"), call.finish_reason),
                (say("error_kind"), call.error_kind),
                (say("error_message"), formats.first_sentence(call.error_message)),
            ],
        ),
        (
            say("tokens") + (f" ({say('estimated')})" if call.is_estimated else ""),
            [
                (say("tokens_in"), formats.count(call.prompt_tokens, say)),
                (say("cached_tokens"), formats.count(call.cached_tokens, say)),
                (say("tokens_out"), formats.count(call.completion_tokens, say)),
                (say("reasoning_tokens"), formats.count(call.reasoning_tokens, say)),
                (say("query_characters"), formats.count(call.query_characters, say)),
                (say("response_characters"), formats.count(call.response_characters, say)),
            ],
        ),
        (say("cost"), _costs(call, say)),
    ]
    return [
        (heading, [(name, value) for name, value in lines if value])
        for heading, lines in sections
        if any(value for _, value in lines)
    ]


def _costs(call: LlmCall, say: Say) -> list[tuple[str, str | None]]:
    price = {name: str(value) for name, value in (call.price or {}).items() if value is not None}
    source = price.pop("source", None)
    rates = [say(f"rate_{name}", amount=price.pop(name)) for name in _RATES if name in price]
    rest = [f"{name}: {price[name]}" for name in sorted(price)]
    return [
        (say("cost_in"), formats.money(call.input_cost, say)),
        (say("cost_out"), formats.money(call.output_cost, say)),
        (say("total"), formats.cost_of_call(call, say)),
        (say("price"), source),
        (say("rates"), ", ".join(rates)),
        (say("price_rest"), ", ".join(rest)),
    ]


def _with_unit(number: str | None, unit: str) -> str | None:
    return f"{number} {unit}" if number else None
