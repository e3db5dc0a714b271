"""Compares the recorded calls with the ledger of the scripted model server."""

from collections import Counter
from collections.abc import Iterable

from datalayer.records.usage import LlmCall
from tests.support.model_server import Billed
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.messages import ChatMessage


def tokens_by_model(calls: Iterable[LlmCall]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for call in calls:
        found[call.model, "prompt"] += call.prompt_tokens or 0
        found[call.model, "completion"] += call.completion_tokens or 0
    return found


def ledger_by_model(ledger: Iterable[Billed]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for one in ledger:
        found[one.model, "prompt"] += one.prompt_tokens
        found[one.model, "completion"] += one.completion_tokens
    return found


async def counted(billed: Billed) -> tuple[int, int]:
    """The tokens of prompt and answer, counted by the application's tokenizer."""
    counter = counter_for(billed.model)
    messages: list[ChatMessage] = billed.messages  # type: ignore[assignment]
    return await message_tokens(messages, counter), await counter.count(billed.text)


async def counted_by_model(ledger: Iterable[Billed]) -> Counter[tuple[str, str]]:
    """The unreported tokens, counted by the application's tokenizer."""
    found: Counter[tuple[str, str]] = Counter()
    for one in ledger:
        prompt, completion = await counted(one)
        found[one.model, "prompt"] += prompt
        found[one.model, "completion"] += completion
    return found
