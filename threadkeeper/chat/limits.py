"""Asks, before a call is made, whether it may be: for its user and its project, in tokens or dollars, today or this
month.

What a call may come to at most is set aside in the store until it has ended, so that neither two tabs nor two servers
promise the same tokens twice. Where few are left, the answer is bounded to them. Without any limit nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from datalayer.errors import DataLayerError
from datalayer.limits import LEAST_ANSWER, concerns
from datalayer.usage_records import CallDemand, Limit, LimitReached, LimitStanding, Reservation, plain_amount
from threadkeeper.chat.llm import ModelError, ModelRequest
from threadkeeper.chat.messages import picture_count
from threadkeeper.chat.pricing import Rates
from threadkeeper.chat.remembered import Remembered
from threadkeeper.chat.tokens import context_window, counter_for, message_tokens

REMEMBERED_SECONDS = 5.0
# A question does not wait for a database that is away for longer than that.
_PATIENCE_SECONDS = 10.0
# What a process that is gone had set aside is free again after that; an answer that takes longer has it extended.
RESERVED_SECONDS = 600.0
# An answer without a set maximum. What models can say at most is more for a few, and less for old ones.
LONGEST_ANSWER = 16_384
# What every model takes for a maximum.
_SHORT_ANSWER = 4_096
# A short question in a thread of its own, beside what the model is told before every conversation.
_SHORT_QUESTION = 32
_NEARLY = Decimal("0.8")
_MILLION = Decimal(1_000_000)


class LimitStore(Protocol):
    async def list_limits(self) -> list[Limit]: ...
    async def reserve(self, demand: CallDemand, *, zone: str, seconds: float) -> Reservation | LimitReached: ...


class Allowances:
    """Of every user and project of this process."""

    def __init__(self, store: LimitStore, zone: str, window: int | None = None) -> None:
        """`window`: the most tokens that question and answer may have together; without it, those that are known of the
        model.
        """
        self._store, self._zone, self._window = store, zone, window
        self._limits = Remembered("the limits", store.list_limits, REMEMBERED_SECONDS)
        self._warned: set[tuple[str, str | None, str]] = set()

    async def concern(self, user_id: str | None, project_id: str | None) -> bool:
        """Whether there is a limit that a call of this user in this project is under.

        Raises:
            ModelError: nobody can say now.
        """
        try:
            limits = await self._limits.get()
        except (DataLayerError, TimeoutError) as error:
            raise _unchecked(error) from None
        return any(concerns(limit, user_id, project_id) for limit in limits)

    async def admit(
        self, request: ModelRequest, call_id: str, project_id: str | None, prompt_tokens: int, rates: Rates | None
    ) -> ModelRequest:
        """The request, bounded to what is left; what it may come to is set aside under `call_id`.

        Raises:
            ModelError: it may not be made, or nobody can say now whether it may.
        """
        purpose, wanted = request.purpose, request.max_tokens or LONGEST_ANSWER
        window = self._window or context_window(request.model)
        demand = CallDemand(
            call_id,
            purpose.user_id,
            project_id,
            prompt_tokens,
            wanted,
            short_answer_tokens=max(1, min(_SHORT_ANSWER, wanted, window - prompt_tokens)),
            prompt_cost=rates.costs(prompt_tokens, 0, images=picture_count(request.messages)).total if rates else None,
            answer_token_cost=rates.output / _MILLION if rates else None,
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await self._store.reserve(demand, zone=self._zone, seconds=RESERVED_SECONDS)
        except (DataLayerError, TimeoutError) as error:
            raise _unchecked(error) from None
        if isinstance(answer, LimitReached):
            raise _refusal(answer, demand, await _shortest(request))
        await self._warn(request, answer.standings)
        bound = answer.tokens - prompt_tokens
        return request if bound >= wanted else replace(request, max_tokens=bound)

    async def _warn(self, request: ModelRequest, standings: Sequence[LimitStanding]) -> None:
        """Say once in each period that little is left; in each process, as it is no harm to hear it twice."""
        warn, user_id = request.purpose.on_warning, request.purpose.user_id
        for standing in standings:
            key = (standing.limit.id, user_id, standing.ends_at)
            if warn is None or key in self._warned or standing.used < standing.limit.amount * _NEARLY:
                continue
            # Those of periods that are over are of no use any more.
            self._warned = {known for known in self._warned if known[0] != key[0] or known[2] == key[2]} | {key}
            await warn(standing)


def _unchecked(error: Exception) -> ModelError:
    return ModelError("limit_unchecked", f"the limits cannot be checked: {error or type(error).__name__}")


async def _shortest(request: ModelRequest) -> int:
    """The tokens of a short question in a new thread."""
    told = [message for message in request.messages if message["role"] == "system"]
    return await message_tokens(told, counter_for(request.model)) + _SHORT_QUESTION


def _refusal(reached: LimitReached, demand: CallDemand, shortest: int) -> ModelError:
    standing, limit = reached.standing, reached.standing.limit
    what = f"limit {limit.id}: {plain_amount(limit.amount)} {limit.unit} a {limit.period}"
    if reached.is_unpriced:
        return ModelError("unpriced", f"{what}, and the model has no price; `threadkeeper prices set` gives it one")
    detail = (
        f"{what}, {plain_amount(standing.used)} used, {plain_amount(standing.in_flight)} set aside for calls under way"
    )
    need = _need(limit, demand, demand.prompt_tokens)
    if standing.in_flight > 0 and standing.used + need <= limit.amount:
        return ModelError("in_flight", detail, {"standing": standing})
    values: dict[str, object] = {"standing": standing}
    if shortest < demand.prompt_tokens and _need(limit, demand, shortest) <= standing.left:
        # It is not used up: another question would be answered.
        values["need"] = need
    return ModelError("over_limit", detail, values)


def _need(limit: Limit, demand: CallDemand, prompt_tokens: int) -> Decimal:
    """What a question of so many tokens must have left, at the price that the demanded one has."""
    answer = min(LEAST_ANSWER, demand.answer_tokens)
    if limit.unit == "tokens":
        return Decimal(prompt_tokens + answer)
    question = (demand.prompt_cost or Decimal(0)) * prompt_tokens / max(demand.prompt_tokens, 1)
    return question + answer * (demand.answer_token_cost or Decimal(0))
