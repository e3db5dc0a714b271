"""Checks the limits of a user, a project and an API key (tokens or dollars, a day or a month) before a call is made.

The most that a call can use is reserved in the store until it has ended, so that two tabs or two servers cannot use the
same tokens. If few are left, the answer is bounded to them. Without any limit the store is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from datalayer.billing.limits import LEAST_ANSWER, concerns
from datalayer.errors import DataLayerError
from datalayer.records.usage import CallDemand, Limit, LimitReached, LimitStanding, Reservation, plain_amount
from threadkeeper.chat.context.tokens import context_window, counter_for, message_tokens
from threadkeeper.chat.messages import picture_count
from threadkeeper.chat.metering.cached import CachedValue
from threadkeeper.chat.model import ModelError, ModelRequest
from threadkeeper.pricing.rates import Rates

REMEMBERED_SECONDS = 5.0
# How long a question waits for a database that is away.
_PATIENCE_SECONDS = 10.0
# A reservation of a dead process expires after this time. A call that takes longer extends its reservation.
RESERVED_SECONDS = 600.0
# Tokens reserved for an answer without a maximum. A few models can write more, old ones less.
LONGEST_ANSWER = 16_384
# A maximum that every model accepts.
_SHORT_ANSWER = 4_096
# Tokens of a short question in a new thread, without the system prompt.
_SHORT_QUESTION = 32
_NEARLY = Decimal("0.8")
_MILLION = Decimal(1_000_000)


class LimitStore(Protocol):
    async def list_limits(self) -> list[Limit]: ...
    async def reserve(self, demand: CallDemand, *, zone: str, seconds: float) -> Reservation | LimitReached: ...


class Allowances:
    """Checks and reserves for every user and project of this process."""

    def __init__(
        self, store: LimitStore, zone: str, window: int | None = None, *, reserved_seconds: float = RESERVED_SECONDS
    ) -> None:
        """
        Args:
            store: keeps limits and reservations.
            zone: IANA name of the time zone in which days and months begin.
            window: tokens that question and answer may have together; if None, the model's known window.
            reserved_seconds: how long a reservation counts, unless it is extended or released before.
        """
        self._store, self._zone, self._window, self._seconds = store, zone, window, reserved_seconds
        self._limits = CachedValue("the limits", store.list_limits, REMEMBERED_SECONDS)
        self._warned: set[tuple[str, str | None, str]] = set()

    def begin_reading(self) -> None:
        """Begin to read the limits if they are old."""
        self._limits.begin_reading()

    async def concern(self, user_id: str | None, project_id: str | None, key_id: str | None = None) -> bool:
        """Whether a limit applies to a call of this user, project and key.

        Raises:
            ModelError: the limits cannot be read at the moment.
        """
        try:
            limits = await self._limits.get()
        except (DataLayerError, TimeoutError) as error:
            raise _unchecked(error) from None
        return any(concerns(limit, user_id, project_id, key_id) for limit in limits)

    async def admit(
        self, request: ModelRequest, call_id: str, project_id: str | None, prompt_tokens: int, rates: Rates | None
    ) -> ModelRequest:
        """Reserve what the request can use under `call_id`; returns the request, bounded to the rest of the limit.

        Raises:
            ModelError: a limit is reached, or the limits cannot be checked at the moment.
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
            key_id=purpose.key_id,
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await self._store.reserve(demand, zone=self._zone, seconds=self._seconds)
        except (DataLayerError, TimeoutError) as error:
            raise _unchecked(error) from None
        if isinstance(answer, LimitReached):
            raise _refusal(answer, demand, await _shortest(request))
        await self._warn(request, answer.standings)
        bound = answer.tokens - prompt_tokens
        return request if bound >= wanted else replace(request, max_tokens=bound)

    async def _warn(self, request: ModelRequest, standings: Sequence[LimitStanding]) -> None:
        """Warn once a period (in each process) that a limit is nearly reached."""
        warn, user_id = request.purpose.on_warning, request.purpose.user_id
        for standing in standings:
            key = (standing.limit.id, user_id, standing.ends_at)
            if warn is None or key in self._warned or standing.used < standing.limit.amount * _NEARLY:
                continue
            # Warnings of past periods are forgotten.
            self._warned = {known for known in self._warned if known[0] != key[0] or known[2] == key[2]} | {key}
            await warn(standing)


def _unchecked(error: Exception) -> ModelError:
    return ModelError("limit_unchecked", f"the limits cannot be checked: {error or type(error).__name__}")


async def _shortest(request: ModelRequest) -> int:
    """The tokens of a short question in a new thread, with the system prompt."""
    prompt = [message for message in request.messages if message["role"] == "system"]
    return await message_tokens(prompt, counter_for(request.model)) + _SHORT_QUESTION


def _refusal(reached: LimitReached, demand: CallDemand, shortest: int) -> ModelError:
    standing, limit = reached.standing, reached.standing.limit
    what = f"limit {limit.id}: {plain_amount(limit.amount)} {limit.unit} a {limit.period}"
    if reached.is_unpriced:
        return ModelError("unpriced", f"{what}, but the model has no price: set one with `threadkeeper prices set`")
    detail = (
        f"{what}, {plain_amount(standing.used)} used, {plain_amount(standing.in_flight)} reserved for calls in progress"
    )
    need = _need(limit, demand, demand.prompt_tokens)
    if standing.in_flight > 0 and standing.used + need <= limit.amount:
        return ModelError("in_flight", detail, {"standing": standing})
    values: dict[str, object] = {"standing": standing}
    if shortest < demand.prompt_tokens and _need(limit, demand, shortest) <= standing.left:
        # The limit is not used up: a shorter question would be answered.
        values["need"] = need
    return ModelError("over_limit", detail, values)


def _need(limit: Limit, demand: CallDemand, prompt_tokens: int) -> Decimal:
    """Tokens or dollars that a question of this length needs, at the prices of the demand."""
    answer = min(LEAST_ANSWER, demand.answer_tokens)
    if limit.unit == "tokens":
        return Decimal(prompt_tokens + answer)
    question = (demand.prompt_cost or Decimal(0)) * prompt_tokens / max(demand.prompt_tokens, 1)
    return question + answer * (demand.answer_token_cost or Decimal(0))
