"""The calls that pass the gateway: their budget is reserved before, their row is stored before and after.

The provider is asked when the row is stored, so that a call does not get lost with its process. Meanwhile, the request
for the provider is made. A call that takes long holds a reservation, which this process extends every few seconds. If
the process is killed, the next one to look marks the row of the call: the next start, or another replica.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from datalayer.cleaning import utc_now
from datalayer.errors import DataLayerError
from datalayer.records.usage import IN_PROGRESS, STOPPED, LlmCall, LlmCallPayload
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.messages import picture_count
from threadkeeper.chat.metering.keeping import CallKeeper, RowStore
from threadkeeper.chat.metering.limits import Allowances, LimitStore
from threadkeeper.chat.metering.payloads import kept_messages
from threadkeeper.chat.metering.rows import later, priced, with_tokens
from threadkeeper.chat.model import ModelError, ModelRequest, Purpose, TokenUsage
from threadkeeper.chat.providers.openai_errors import clean
from threadkeeper.chat.providers.server_words import meaning_of
from threadkeeper.gateway.answer import Answer
from threadkeeper.gateway.answering import Answering, AnsweringStore
from threadkeeper.gateway.copies import Copy
from threadkeeper.gateway.interruptions import LEASE_SECONDS
from threadkeeper.gateway.questions import UNKNOWN_MODEL, Question
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.pricing.rates import Rates, rates_of
from threadkeeper.tracing.hooks import CallFacts

logger = logging.getLogger(__name__)

# How long a call waits for its first row. Then it is made all the same, because the caller waits, too.
_BEGIN_SECONDS = 2.0
_A_MOMENT_SECONDS = 0.005
_CLOSE_SECONDS = 10.0
_RENEW_SECONDS = LEASE_SECONDS / 3
_LONGEST_NAME = 200
_CHARACTERS_OF_A_TOKEN = 4
# Sound and pictures have no tokens that can be counted here.
_NOT_OF_WORDS = ("audio", "image")
_STATUS_OF = {"limit_unchecked": 503, "unpriced": 403}


class GatewayStore(LimitStore, RowStore, AnsweringStore, Protocol):
    async def begin_call(self, call: LlmCall) -> None: ...
    async def extend_calls(self, ids: Sequence[str], *, seconds: float) -> None: ...


OnEnd = Callable[[LlmCall, Answer], Awaitable[LlmCall]]


@dataclass(slots=True)
class GatewayCall:
    """A call that has not ended. `error_kind` and `error_message` are set if no whole answer came."""

    row: LlmCall
    question: Question
    base_url: str
    model_version: str | None = None
    copy: Copy | None = None
    status: int | None = None
    first: float | None = None
    stopped: bool = False
    error_kind: str | None = None
    error_message: str | None = None
    secrets: tuple[str, ...] = ()
    """The keys of this call, which a provider could repeat: that of the provider, and those of the caller."""
    is_asking: bool = True
    """Whether its answer uses tokens. One that is read again, such as by polling, does not, and is only recorded."""
    on_usage: Callable[[TokenUsage], Awaitable[None]] | None = None
    on_end: OnEnd | None = None
    """Gets the row and the answer of a call that was answered, before the row is stored."""
    settling: asyncio.Task[LlmCall] | None = None
    beginning: asyncio.Task[None] | None = None
    """Stores the first row."""
    has_begun: bool = False
    # Whether it has a reservation to release.
    holds: bool = False
    began: float = field(default_factory=time.perf_counter)

    @property
    def service_tier(self) -> str | None:
        """The one that answered; before it is known, the one that was asked for."""
        answered = None if self.copy is None else self.copy.answer.service_tier
        return answered or self.question.service_tier

    def fail(self, kind: str, message: str) -> None:
        self.error_kind, self.error_message = kind, clean(self.masked(message), "")

    def masked(self, text: str) -> str:
        """The text without the keys of the call."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


class CallBook:
    """Begins and ends the calls of this process."""

    def __init__(self, store: GatewayStore, settings: GatewaySettings) -> None:
        self._store, self._settings = store, settings
        self._keeper = CallKeeper(store, keep_payloads=settings.keep_payloads)
        # A reservation shows that a call is in progress, so it must not outlive this process for long.
        self._allowances = Allowances(store, settings.zone, reserved_seconds=LEASE_SECONDS)
        self._answering = Answering(store)
        self._open: dict[str, GatewayCall] = {}
        # Done when the last row of a call is on its way to the store's queue.
        self._ending: set[asyncio.Future[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    def begin_reading(self) -> None:
        """Begin to read the prices and the limits if they are old."""
        self._keeper.begin_reading()
        self._allowances.begin_reading()

    async def begin(self, call: GatewayCall) -> None:
        """Reserve the budget of the call, and begin to store its row; `begun` waits for it, and `end` has to follow.

        Raises:
            Refused: a limit is reached, or the limits cannot be checked now.
        """
        if call.is_asking:
            await self._keeper.read_prices()
            if await self._concerns(call.row):
                await self._reserve(call)
                call.holds = True
            if call.holds or time.perf_counter() - call.began > _A_MOMENT_SECONDS:
                # It counts from now on.
                call.row = replace(call.row, requested_at=utc_now())
            self._open[call.row.id] = call
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.create_task(self._renew(), name="extend-gateway-calls")
            call.beginning = self._keeper.beside(self._begin(call.row))

    async def begun(self, call: GatewayCall) -> None:
        """Wait until the first row of the call is stored, for two seconds at most. From then on, its time counts."""
        if call.has_begun:
            return
        if call.beginning is not None and not call.beginning.done():
            await asyncio.wait([call.beginning], timeout=_BEGIN_SECONDS)
            if not call.beginning.done():
                words = "a call does not wait any longer until its begin is stored"
                logger.warning(words, extra={"call_id": call.row.id})
        call.has_begun, call.began = True, time.perf_counter()

    def end(self, call: GatewayCall) -> None:
        """Store the row of the call in the background. Awaits nothing, because the task may be cancelled already."""
        seconds = time.perf_counter() - call.began
        self._open.pop(call.row.id, None)
        ending = asyncio.get_running_loop().create_future()
        self._ending.add(ending)
        self._keeper.beside(self._end(call, seconds, ending))

    async def close(self) -> None:
        """Wait until the last rows are in the store's queue, for ten seconds at most.

        The store itself waits for the database, and spools what it cannot store.
        """
        if self._renewing is not None:
            self._renewing.cancel()
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSE_SECONDS)
        await self._keeper.close()

    async def _concerns(self, row: LlmCall) -> bool:
        try:
            return await self._allowances.concern(row.user_id, row.project_id, row.key_id)
        except ModelError as error:
            raise _refusal(error) from None

    async def _reserve(self, call: GatewayCall) -> None:
        row, question = call.row, call.question
        tokens = await message_tokens(question.messages, counter_for(row.model))
        rates = await self._rates_or_last(call, replace(row, answered_by=self._answered_by(call, row, None)), tokens)
        purpose = Purpose(row.kind, row.user_id, key_id=row.key_id)
        request = ModelRequest(question.messages, row.model, max_tokens=question.max_tokens, purpose=purpose)
        try:
            admitted = await self._allowances.admit(request, row.id, row.project_id, tokens, rates)
        except (ModelError, asyncio.CancelledError) as error:
            if not isinstance(error, ModelError) or error.kind == "limit_unchecked":
                # The reservation may have been stored all the same.
                self._keeper.beside(self._keeper.release(row.id))
            if isinstance(error, ModelError):
                raise _refusal(error) from None
            raise
        if question.max_tokens is not None and admitted.max_tokens != question.max_tokens:
            # The bytes go through unchanged, so an answer of this length cannot be bounded to what is left.
            self._keeper.beside(self._keeper.release(row.id))
            sentence = f"A limit leaves {admitted.max_tokens} tokens for the answer; the request asks for more."
            raise Refused(429, "over_limit", sentence)

    def _rates(self, call: GatewayCall, row: LlmCall, prompt_tokens: int) -> Rates | None:
        return rates_of(
            self._keeper.prices,
            model=row.model,
            when=row.requested_at,
            provider=row.provider,
            answered_by=row.answered_by,
            base_url=call.base_url,
            prompt_tokens=prompt_tokens,
            service_tier=call.service_tier,
        )

    async def _rates_or_last(self, call: GatewayCall, row: LlmCall, prompt_tokens: int) -> Rates | None:
        """The rates of a call. If it is not known what answers, they are those of what last did."""
        rates = self._rates(call, row, prompt_tokens)
        if rates is None and row.answered_by is None:
            rates = self._rates(call, replace(row, answered_by=await self._answering.of(row)), prompt_tokens)
        return rates

    def _answered_by(self, call: GatewayCall, row: LlmCall, named: str | None) -> str | None:
        """The name that the provider gives the model; that of the caller, if only that one has a price."""
        if call.model_version is None or self._rates(call, replace(row, answered_by=named), 0) is not None:
            return named
        return call.model_version

    async def _begin(self, row: LlmCall) -> None:
        try:
            await self._store.begin_call(row)
        except DataLayerError as error:
            logger.error("the begin of a call is not stored: %s", error, extra={"call_id": row.id})

    async def _renew(self) -> None:
        """Extend the reservations of open calls, until there is none. Those of young calls last long enough."""
        while self._open:
            await asyncio.sleep(_RENEW_SECONDS)
            since = time.perf_counter() - _RENEW_SECONDS
            old = [call for call in self._open.values() if call.began <= since]
            for call in old:
                call.holds = True
            try:
                if old:
                    await self._store.extend_calls([call.row.id for call in old], seconds=LEASE_SECONDS)
            except DataLayerError as error:
                logger.warning("cannot extend the reservations of calls in progress; trying again: %s", error)

    async def _end(self, call: GatewayCall, seconds: float, ending: asyncio.Future[None]) -> None:
        row = call.row
        try:
            row = await self._settled(call, seconds)
        except Exception:
            logger.exception("the answer of a call cannot be read; its row has no tokens", extra={"call_id": row.id})
            row = replace(row, finish_reason=None, status_code=call.status, seconds=seconds, error_kind="unreadable")
        ending.set_result(None)
        self._ending.discard(ending)
        answer_id = call.copy.answer.id if call.copy is not None else None
        facts = CallFacts(call.base_url, answer_id, call.question.max_tokens)
        await self._keeper.keep([row], partial(self._payload, call), facts, has_reserved=call.holds)

    async def settle(self, call: GatewayCall) -> None:
        """Call `on_end` of a call of which no more bytes come. It ends also if the caller goes away."""
        await self._settled(call, time.perf_counter() - call.began)

    async def _settled(self, call: GatewayCall, seconds: float) -> LlmCall:
        """The row of a call that has ended; it is made once."""
        if call.on_end is None:
            return await self._ended(call, seconds)
        if call.settling is None:
            call.settling = asyncio.create_task(self._tell_end(call, call.on_end, seconds), name="end-gateway-call")
        return await asyncio.shield(call.settling)

    async def _tell_end(self, call: GatewayCall, on_end: OnEnd, seconds: float) -> LlmCall:
        row = await self._ended(call, seconds)
        return row if call.copy is None else await on_end(row, call.copy.answer)

    async def _ended(self, call: GatewayCall, seconds: float) -> LlmCall:
        """The row of a call that has ended."""
        if call.copy is not None:
            await call.copy.finish()
        answer = None if call.copy is None else call.copy.answer
        reason = None if answer is None or not answer.reason else answer.reason[:_LONGEST_NAME]
        named = None if answer is None else answer.model
        row = replace(
            call.row,
            # Requests about an earlier one, such as to cancel it, name no model.
            model=named if named and call.row.model == UNKNOWN_MODEL else call.row.model,
            responded_at=later(call.row.requested_at, seconds),
            status_code=call.status,
            finish_reason=STOPPED if call.stopped else reason,
            error_kind=call.error_kind,
            error_message=self._settings.redact(call.error_message) if call.error_message else None,
            seconds=seconds,
            first_token_seconds=None if call.first is None else call.first - call.began,
            answered_by=None if answer is None else self._answered_by(call, call.row, named),
            response_characters=0 if answer is None else len(answer.text),
        )
        if call.copy is None or answer is None:
            return row
        if call.copy.problem is not None:
            logger.warning("the copy of an answer was not read: %s", call.copy.problem, extra={"call_id": row.id})
        if row.error_kind is None and (said := answer.error) is not None:
            kind = meaning_of(_status_of(call.status, said.code), said.code, said.message)
            words = f"{said.code}: {said.message}" if said.code else said.message or f"HTTP {call.status}"
            detail = clean(call.masked(words), "")
            row = replace(row, error_kind=kind, error_message=self._settings.redact(detail))
        elif row.error_kind is None and call.status is not None and call.status >= 400:
            row = replace(row, error_kind=meaning_of(call.status, "", ""), error_message=f"HTTP {call.status}")
        return await self._with_usage(call, row)

    async def _with_usage(self, call: GatewayCall, row: LlmCall) -> LlmCall:
        """The row with the reported tokens. Those of a text whose usage did not come are counted, and marked so."""
        assert call.copy is not None
        if not call.is_asking:
            return row
        reported, is_estimated = call.copy.answer.usage, False
        if not isinstance(reported, TokenUsage):
            text, thought = call.copy.answer.text, call.copy.answer.thought_characters
            has_words = text or thought or call.stopped or (row.kind == "embedding" and call.question.messages)
            if call.status is None or call.status >= 400 or row.kind in _NOT_OF_WORDS or not has_words:
                # The tokens that are not reported stay unknown, and so does the cost.
                return row if reported is None else with_tokens(row, reported)
            counter = counter_for(row.model)
            prompt = await message_tokens(call.question.messages, counter)
            # The text of a thought is not kept, so its tokens are guessed by its length.
            counted = TokenUsage(prompt, await counter.count(text) + thought // _CHARACTERS_OF_A_TOKEN)
            reported = reported.completed(counted) if reported is not None else counted
            is_estimated = True
        self._answering.note(row)
        rates = await self._rates_or_last(call, row, reported.prompt_tokens)
        if call.on_usage is not None:
            await call.on_usage(reported)
        images = picture_count(call.question.messages)
        return priced(row, reported, rates, images, call.service_tier, is_estimated=is_estimated)

    def _payload(self, call: GatewayCall, row: LlmCall) -> LlmCallPayload:
        text = call.copy.answer.text if call.copy is not None else ""
        messages = kept_messages(call.question.messages, self._settings.redact)
        return LlmCallPayload(row.id, messages, self._masked(call, text) if text else None)

    def _masked(self, call: GatewayCall, text: str) -> str:
        """The text without secrets: a provider could repeat its key."""
        return self._settings.redact(call.masked(text))


def new_call(
    kind: str,
    question: Question,
    *,
    base_url: str,
    model_version: str | None,
    is_streaming: bool,
    is_asking: bool,
    **fields: object,
) -> GatewayCall:
    """A call that begins now. `fields` are those of its row."""
    row = LlmCall(
        id=str(uuid.uuid4()),
        kind=kind,
        model=(question.model or UNKNOWN_MODEL)[:_LONGEST_NAME],
        requested_at=utc_now(),
        is_streaming=is_streaming,
        query_characters=question.characters,
        finish_reason=IN_PROGRESS if is_asking else None,
        **fields,  # type: ignore[arg-type]
    )
    version = model_version[:_LONGEST_NAME] if model_version else None
    return GatewayCall(row, question, base_url, version, is_asking=is_asking)


def _status_of(status: int | None, code: str) -> int:
    """The status of an error. One inside of a stream, whose status was 200 already, may have it as its code."""
    if status is not None and status >= 400:
        return status
    return int(code) if code.isdigit() and len(code) == 3 else 500


def _refusal(error: ModelError) -> Refused:
    return Refused(_STATUS_OF.get(error.kind, 429), error.kind, f"The call is not made: {error.detail}.")
