"""The line under an answer with its model, tokens, cost and speed, as one of the page's small buttons.

It is built from the answer's metadata each time the answer is shown. So it is not part of the text that is stored,
copied or sent to the model.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import chainlit as cl

from datalayer.records.usage import LlmCall
from threadkeeper.chat.context.asking import CONTEXT
from threadkeeper.chat.wording import say, say_dollars

USAGE = "usage"
_FILLED_PERCENT = 10
"""From here on, the line says how full the window was; its details always do."""
MOST_SHOWN = 100
"""Footers in a long thread; the newest answers get them, because each footer is a message to the page."""


async def show_footers(steps: Sequence[Mapping[str, Any]], language: str, *, replace: bool = False) -> None:
    """Show the footer of each answer that has usage in its metadata; `replace` removes an earlier footer first."""
    footers = [(step["id"], found) for step in steps if (found := footer(step, language)) is not None]
    for step_id, action in footers[-MOST_SHOWN:]:
        if replace:
            await action.remove()
        await action.send(for_id=step_id)


def usage_with(call: LlmCall, used: Mapping[str, Any]) -> dict[str, Any]:
    """The usage in the metadata of an answer after one more call with tokens; `used`: the usage before, {} at first."""
    usage: dict[str, Any] = {
        "prompt_tokens": (call.prompt_tokens or 0) + int(used.get("prompt_tokens") or 0),
        "completion_tokens": (call.completion_tokens or 0) + int(used.get("completion_tokens") or 0),
        "is_estimated": call.is_estimated or bool(used.get("is_estimated")),
        # Of this call alone, which had the text so far in its prompt.
        "context_tokens": (call.prompt_tokens or 0) + (call.completion_tokens or 0),
    }
    if call.total_cost is not None and (not used or used.get("dollars") is not None):
        usage["dollars"] = f"{call.total_cost + Decimal(str(used.get('dollars') or 0)):f}"
    if call.tokens_per_second is not None:
        usage["tokens_per_second"] = round(call.tokens_per_second, 1)
    return usage


def footer(step: Mapping[str, Any], language: str) -> cl.Action | None:
    """The footer of one answer; None if its usage is unknown."""
    metadata = step.get("metadata") or {}
    usage = metadata.get("usage")
    if step.get("type") != "assistant_message" or not isinstance(usage, Mapping):
        return None
    question, answer = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    tokens = "footer_tokens_estimated" if usage.get("is_estimated") else "footer_tokens"
    parts = [str(metadata.get("model") or ""), say(tokens, language, tokens=question + answer)]
    if usage.get("dollars") is not None:
        # An unknown cost is left out; it is not zero.
        parts.append(say_dollars(Decimal(str(usage["dollars"])), language))
    if usage.get("tokens_per_second"):
        parts.append(say("footer_speed", language, speed=round(usage["tokens_per_second"])))
    details = say("footer_details", language, question=question, answer=answer)
    if metadata.get("first_token_seconds") is not None:
        details = f"{details} {say('footer_first_word', language, seconds=metadata['first_token_seconds'])}"
    if (gauge := _gauge(metadata.get(CONTEXT), usage.get("context_tokens"), language)) is not None:
        percent, said = gauge
        details = f"{details} {said}"
        if percent >= _FILLED_PERCENT:
            parts.append(say("footer_window", language, percent=percent))
    return cl.Action(
        id=f"{USAGE}-{step['id']}",
        name=USAGE,
        label=" · ".join(filter(None, parts)),
        tooltip=details,
        payload={"details": details},
    )


def _gauge(context: Any, tokens: Any, language: str) -> tuple[int, str] | None:
    """How full the model's window was, in percent, and sentences with it; None if it is not known."""
    if not isinstance(context, Mapping) or not isinstance(tokens, int) or not tokens:
        return None
    window, left_out = context.get("window"), context.get("left_out")
    if not isinstance(window, int) or window <= 0:
        return None
    percent = round(100 * tokens / window)
    said = say("footer_window_details", language, tokens=tokens, window=window, percent=percent or "<1")
    if isinstance(left_out, int) and left_out > 0:
        said = f"{said} {say('footer_left_out', language, count=left_out)}"
    return percent, said
