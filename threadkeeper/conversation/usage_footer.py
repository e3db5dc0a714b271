"""What stands under an answer: its model, tokens, cost and speed, in one quiet line among the page's small buttons.

It is made of the answer's metadata each time that the page shows the answer, so that it is no part of the text: neither
of what is stored nor of what is copied or sent to the model.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import chainlit as cl

from threadkeeper.chat.wording import say, say_dollars

USAGE = "usage"
MOST_SHOWN = 100
"""Of a long thread the newest have a footer: each is a message of its own to the page."""


async def show_footers(steps: Sequence[Mapping[str, Any]], language: str) -> None:
    """Put its line under each of the answers that has one."""
    footers = [(step["id"], found) for step in steps if (found := footer(step, language)) is not None]
    for step_id, action in footers[-MOST_SHOWN:]:
        await action.send(for_id=step_id)


def footer(step: Mapping[str, Any], language: str) -> cl.Action | None:
    """The line of one answer; None where nothing is known of what it took."""
    metadata = step.get("metadata") or {}
    usage = metadata.get("usage")
    if step.get("type") != "assistant_message" or not isinstance(usage, Mapping):
        return None
    question, answer = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    tokens = "footer_tokens_estimated" if usage.get("is_estimated") else "footer_tokens"
    parts = [str(metadata.get("model") or ""), say(tokens, language, tokens=f"{question + answer:,}")]
    if usage.get("dollars") is not None:
        # What is unknown is left away; it is not nothing.
        parts.append(say_dollars(Decimal(str(usage["dollars"])), language))
    if usage.get("tokens_per_second"):
        parts.append(say("footer_speed", language, speed=f"{usage['tokens_per_second']:.0f}"))
    details = say("footer_details", language, question=f"{question:,}", answer=f"{answer:,}")
    if metadata.get("first_token_seconds") is not None:
        details = f"{details} {say('footer_first_word', language, seconds=metadata['first_token_seconds'])}"
    return cl.Action(
        id=f"{USAGE}-{step['id']}",
        name=USAGE,
        label=" · ".join(filter(None, parts)),
        tooltip=details,
        payload={"details": details},
    )
