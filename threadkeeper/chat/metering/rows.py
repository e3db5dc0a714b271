"""The rows of usage for one call to a model: one for each time that the server was asked.

Tokens are those that the server reports. If it reports none for an answer that it began, or only some, or numbers that
contradict each other, the rest is counted here, and the row is marked as estimated. A request that was refused, or that
reached no server, has neither tokens nor cost.
"""

from __future__ import annotations

import asyncio
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from datalayer.cleaning import clean_time
from datalayer.records.usage import STOPPED, LlmCall, tokens_per_second
from threadkeeper.chat.context.tokens import TokenCounter
from threadkeeper.chat.messages import ChatMessage, all_text, picture_count
from threadkeeper.chat.model import (
    AnswerEvent,
    Attempt,
    Finish,
    ModelError,
    ModelRequest,
    NotShown,
    PartialUsage,
    Picture,
    Source,
    Thought,
    TokenUsage,
)
from threadkeeper.pricing.rates import Rates, tier_of


@dataclass(slots=True)
class OpenCall:
    """A call to a model that has not ended, and what has arrived of its answer and its thought so far."""

    request: ModelRequest
    id: str
    project_id: str | None
    counter: TokenCounter
    is_streaming: bool
    has_reserved: bool = False
    extension: asyncio.TimerHandle | None = None
    began: Attempt = field(default_factory=Attempt)
    parts: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    first: float | None = None
    finish: Finish | None = None
    error: ModelError | None = None
    stopped: bool = False
    ended: float = 0.0

    @property
    def response_id(self) -> str | None:
        """The id that the server gave the answer."""
        attempt = _attempts(self)[-1]
        return attempt.response_id or (self.finish.response_id if self.finish else None)

    def take(self, event: AnswerEvent) -> None:
        if isinstance(event, Finish):
            self.finish = event
            return
        if self.first is None:
            self.first = time.perf_counter()
        if isinstance(event, Picture | NotShown):
            return
        if not isinstance(event, Thought):
            self.parts.append(event.text)
            return
        if event.takes_back:
            self.thought += self.parts
            self.parts.clear()
        self.thought.append(event.text)


@dataclass(frozen=True, slots=True)
class CallRows:
    """Makes the rows of a call that has ended.

    Args:
        source: the server that was asked.
        rates: finds the prices for model, name of the model that answered, time of the request (ISO 8601), prompt
            tokens and service tier; None if no price is known.
        redact: takes secrets out of a text.
    """

    source: Source
    rates: Callable[[str, str | None, str, int, str | None], Rates | None]
    redact: Callable[[str], str]

    def of(self, call: OpenCall, sent: list[ChatMessage], answer: str, counted: TokenUsage | None) -> list[LlmCall]:
        """A row for each attempt, in the order of the attempts. The last one holds tokens and cost.

        Args:
            sent: the messages as they went to the server.
            answer: the text that arrived.
            counted: the tokens as counted here, if the server did not report all of them.
        """
        *earlier, last = _attempts(call)
        rows = [self._failed(call, sent, attempt, at) for at, attempt in enumerate(earlier, 1)]
        rows.append(self._last(call, sent, last, len(earlier) + 1, answer, counted=counted))
        return rows

    def _row(self, call: OpenCall, sent: list[ChatMessage], attempt: Attempt, number: int) -> LlmCall:
        request, purpose = call.request, call.request.purpose
        seconds = call.ended - attempt.began if attempt.seconds is None else attempt.seconds
        return LlmCall(
            id=call.id,
            kind=purpose.kind,
            model=request.model,
            requested_at=attempt.requested_at,
            responded_at=later(attempt.requested_at, seconds),
            project_id=call.project_id,
            provider=self.source.provider,
            deployment=request.model if self.source.has_deployments else None,
            user_id=purpose.user_id,
            thread_id=purpose.thread_id,
            step_id=purpose.step_id,
            assistant=purpose.assistant,
            assistant_version=purpose.assistant_version,
            key_id=purpose.key_id,
            attempt=number,
            is_streaming=call.is_streaming,
            status_code=attempt.status_code,
            query_characters=sum(len(all_text(message)) for message in sent),
            seconds=seconds,
            tags=purpose.tags,
            library=self.source.library,
            operating_system=_operating_system(),
        )

    def _failed(self, call: OpenCall, sent: list[ChatMessage], attempt: Attempt, number: int) -> LlmCall:
        """The row of an attempt that was followed by another one."""
        row = replace(self._row(call, sent, attempt, number), id=str(uuid.uuid4()))
        return _with_error(row, attempt.error, self.redact)

    def _last(
        self,
        call: OpenCall,
        sent: list[ChatMessage],
        attempt: Attempt,
        number: int,
        answer: str,
        *,
        counted: TokenUsage | None,
    ) -> LlmCall:
        row = self._row(call, sent, attempt, number)
        if attempt.error is not None:
            return _with_error(row, attempt.error, self.redact)
        finish, first = call.finish, call.first
        row = replace(
            _with_error(row, call.error, self.redact),
            status_code=attempt.status_code or (200 if finish else None),
            answered_by=attempt.answered_by or (finish.model if finish else None),
            finish_reason=finish.reason if finish else STOPPED if call.stopped else None,
            response_characters=len(answer),
            first_token_seconds=None if first is None else first - attempt.began,
        )
        usage = _reported(call) or _estimated(call, counted)
        if usage is None:
            return row
        tier = attempt.service_tier or (finish.service_tier if finish else None)
        rates = self.rates(row.model, row.answered_by, row.requested_at, usage.prompt_tokens, tier)
        return priced(row, usage, rates, picture_count(sent), tier, is_estimated=counted is not None)


def priced(
    row: LlmCall,
    usage: TokenUsage,
    rates: Rates | None,
    images: int = 0,
    service_tier: str | None = None,
    *,
    is_estimated: bool,
) -> LlmCall:
    """The row with these tokens, its cost at these rates, and its speed.

    Args:
        row: of the call.
        usage: its tokens.
        rates: None if no price is known.
        images: how many pictures were sent.
        service_tier: in which the server answered, as it names it. Its price may be known later.
        is_estimated: whether the tokens were counted here.
    """
    known: dict[str, object] = {"is_estimated": is_estimated}
    known["tokens_per_second"] = tokens_per_second(usage.completion_tokens, row.seconds)
    if rates is not None:
        costs = rates.costs(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens or 0, images)
        known |= {"input_cost": costs.input, "output_cost": costs.output, "total_cost": costs.total}
        known["price"] = costs.price
    else:
        # Stored nowhere else; a later price may be per picture, or of the tier.
        kept = {"images": images, "service_tier": tier_of(service_tier)}
        known["price"] = {name: value for name, value in kept.items() if value} or None
    return with_tokens(row, usage, **known)


def with_tokens(row: LlmCall, usage: TokenUsage | PartialUsage, **more: object) -> LlmCall:
    """The row with these tokens, and with `more` of its fields."""
    # One copy for all fields: each took 1 % of the CPU time of a call through the gateway.
    return replace(
        row,
        **more,  # type: ignore[arg-type]
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _attempts(call: OpenCall) -> list[Attempt]:
    return call.request.attempts or [call.began]


def _reported(call: OpenCall) -> TokenUsage | None:
    """The tokens that the server reported."""
    billed = call.finish or call.error
    return billed.usage if billed else None


def _estimated(call: OpenCall, counted: TokenUsage | None) -> TokenUsage | None:
    """The counted tokens, with the numbers that the server reported all the same."""
    billed = call.finish or call.error
    partial = billed.partial if billed else None
    return partial.completed(counted) if partial and counted else counted


def is_unreported(call: OpenCall) -> bool:
    """Whether the server began to answer, and so bills the call, but did not report all tokens."""
    attempt = _attempts(call)[-1]
    if attempt.error is not None or _reported(call) is not None:
        return False
    if call.parts or call.thought or call.finish is not None:
        return True
    broke_off = call.stopped or (call.error is not None and call.error.kind in ("cut", "timeout"))
    return broke_off and attempt.status_code is not None


def _with_error(row: LlmCall, error: ModelError | None, redact: Callable[[str], str]) -> LlmCall:
    return row if error is None else replace(row, error_kind=error.kind, error_message=redact(error.detail))


def later(moment: str, seconds: float) -> str | None:
    """The time that many seconds after the moment."""
    return clean_time(datetime.fromisoformat(moment) + timedelta(seconds=seconds), "time of an answer")


@lru_cache(maxsize=1)
def _operating_system() -> str:
    return platform.platform(terse=True)
