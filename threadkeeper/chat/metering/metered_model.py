"""A model that stores every call in the usage tables: one row for each request to the server, also for failed ones.

It wraps the model that makes the calls, so that no caller can leave the accounting out. Before a question is sent, the
limits are checked and its tokens are reserved. When the answer has ended (complete, failed, cut, stopped), `rows` makes
its rows at once, and a background task stores them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

from datalayer.records.usage import LlmCall, LlmCallPayload
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.messages import ChatMessage, on_the_wire
from threadkeeper.chat.metering.cached import CachedValue
from threadkeeper.chat.metering.keeping import CallKeeper, RowStore
from threadkeeper.chat.metering.limits import RESERVED_SECONDS, Allowances, LimitStore
from threadkeeper.chat.metering.payloads import kept_messages
from threadkeeper.chat.metering.rows import CallRows, OpenCall, is_unreported
from threadkeeper.chat.model import (
    AnswerEvent,
    Attempt,
    Completion,
    Delta,
    Model,
    ModelError,
    ModelRequest,
    Thought,
    TokenUsage,
)
from threadkeeper.pricing.rates import Rates, rates_of
from threadkeeper.tracing.hooks import CallFacts

logger = logging.getLogger(__name__)

_PROJECT_SECONDS = 3600.0
_ANSWERING_SECONDS = 5.0
# How long the end of an answer waits for the count of tokens that the server did not report.
_COUNT_SECONDS = 2.0


class CallStore(LimitStore, RowStore, Protocol):
    async def default_project(self) -> str: ...
    async def last_answered_by(self, model: str, provider: str) -> str | None: ...
    async def has_sent_finish_reasons(self, provider: str) -> bool: ...


class MeteredModel:
    """Another model, with its calls limited, priced and stored."""

    def __init__(
        self,
        model: Model,
        store: CallStore,
        *,
        zone: str = "UTC",
        window: int | None = None,
        keep_payloads: bool = True,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        """
        Args:
            model: makes the calls.
            store: keeps calls, prices and limits.
            zone: IANA name of the time zone in which the days and months of limits begin.
            window: tokens that question and answer may have together; if None, the model's known window.
            keep_payloads: whether messages and answer are stored with each call.
            redact: takes secrets out of a text.
        """
        self.demo = model.demo
        self.source = model.source
        self._model, self._store = model, store
        self._redact = redact
        self._rows = CallRows(self.source, self._rates, redact)
        # What answered under the name of a model before: on Azure, the name of a deployment has no price of its own.
        self._answering: dict[str, CachedValue[str | None]] = {}
        self._allowances = Allowances(store, zone, window)
        self._keeper = CallKeeper(store, keep_payloads=keep_payloads)
        self._project = CachedValue("the default project", store.default_project, _PROJECT_SECONDS)
        self._counting: set[asyncio.Task[None]] = set()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        call = await self._begin(request, is_streaming=True)
        try:
            async with aclosing(self._model.stream(call.request)) as events:
                async for event in events:
                    call.take(event)
                    yield event
        except ModelError as error:
            call.error = error
            raise
        except (asyncio.CancelledError, GeneratorExit):
            call.stopped = True
            raise
        finally:
            await self._end(call)

    async def complete(self, request: ModelRequest) -> Completion:
        call = await self._begin(request, is_streaming=False)
        try:
            completion = await self._model.complete(call.request)
            if completion.thought:
                call.take(Thought(completion.thought))
            call.take(Delta(completion.text))
            call.take(completion.finish)
        except ModelError as error:
            call.error = error
            raise
        except asyncio.CancelledError:
            call.stopped = True
            raise
        finally:
            await self._end(call)
        return completion

    async def load(self) -> None:
        await self._model.load()

    async def close(self) -> None:
        """Wait until open rows are in the store's queue, for 2.5 s at most, and close the model."""
        if self._counting:
            await asyncio.wait(self._counting, timeout=_COUNT_SECONDS)
        if self._counting:
            logger.error("the usage of %d model calls is not stored: their tokens are not counted", len(self._counting))
        await self._keeper.close()
        await self._model.close()

    async def _begin(self, request: ModelRequest, *, is_streaming: bool) -> OpenCall:
        """Check the limits and reserve tokens. Raises ModelError if the question may not be sent."""
        await self._keeper.read_prices()
        project_id = request.purpose.project_id or await self._keeper.known(self._project)
        call = OpenCall(
            replace(request, attempts=[]),
            str(uuid.uuid4()),
            project_id,
            counter_for(request.model),
            is_streaming,
        )
        if await self._allowances.concern(request.purpose.user_id, project_id, request.purpose.key_id):
            sent = on_the_wire(request.messages)
            tokens = await message_tokens(sent, call.counter)
            await self._keeper.known(self._answering_to(request.model))
            rates = self._rates(request.model, None, call.began.requested_at, tokens)
            try:
                call.request = await self._allowances.admit(call.request, call.id, project_id, tokens, rates)
            except (ModelError, asyncio.CancelledError) as error:
                if not isinstance(error, ModelError) or error.kind == "limit_unchecked":
                    # The reservation may have been stored all the same.
                    self._keeper.beside(self._keeper.release(call.id))
                raise
            call.has_reserved = True
            self._extend_in_time(call)
            # The time of the call begins when it is sent.
            call.began = Attempt()
        return call

    def _answering_to(self, model: str) -> CachedValue[str | None]:
        """The newest name of what answered to this name of a model, on any server process."""
        if model not in self._answering:
            read = partial(self._store.last_answered_by, model, self.source.provider)
            self._answering[model] = CachedValue(f"what answers as {model}", read, _ANSWERING_SECONDS)
        return self._answering[model]

    def _rates(
        self, model: str, answered_by: str | None, when: str, prompt_tokens: int, service_tier: str | None = None
    ) -> Rates | None:
        if answered_by is None:
            # Not known yet, or never: the answer broke off too soon.
            answered_by = self._answering_to(model).newest
        return rates_of(
            self._keeper.prices,
            model=model,
            when=when,
            provider=self.source.provider,
            answered_by=answered_by,
            base_url=self.source.base_url,
            prompt_tokens=prompt_tokens,
            service_tier=service_tier,
        )

    async def _end(self, call: OpenCall) -> None:
        """Store the rows of a call in the background.

        Raises nothing but CancelledError, because the answer matters more than its row. If the server reported its
        tokens, nothing is awaited, because the task may be cancelled already.
        """
        call.ended = time.perf_counter()
        if call.extension is not None:
            call.extension.cancel()
        if call.finish is None and call.error is None and not call.stopped:
            call.error = ModelError("cut", "the model's stream ended without a Finish")
        if not is_unreported(call):
            self._account(call, None)
            return
        # Not awaited for longer, because Stop, an edit and the shutdown wait for this; and `wait` does not cancel the
        # count when this task is cancelled a second time.
        counting = self._keeper.beside(self._account_counted(call))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)
        await asyncio.wait({counting}, timeout=_COUNT_SECONDS)

    async def _account_counted(self, call: OpenCall) -> None:
        """Count the tokens that the server did not report, then account for the call."""
        try:
            prompt_tokens = await message_tokens(on_the_wire(call.request.messages), call.counter)
            counted = TokenUsage(prompt_tokens, await call.counter.count("".join([*call.thought, *call.parts])))
        except Exception:
            logger.exception("cannot count the tokens of a call; its row has none", extra={"call_id": call.id})
            counted = None
        self._account(call, counted)

    def _account(self, call: OpenCall, counted: TokenUsage | None) -> None:
        """Make the rows and start to store them. `counted`: tokens that were counted here."""
        try:
            self._account_rows(call, counted)
        except Exception:
            logger.exception("the usage of a model call is not stored", extra={"call_id": call.id})
            if call.has_reserved:
                self._keeper.beside(self._keeper.release(call.id))

    def _account_rows(self, call: OpenCall, counted: TokenUsage | None) -> None:
        sent = on_the_wire(call.request.messages)
        answer = "".join(call.parts)
        rows = self._rows.of(call, sent, answer, counted)
        if rows[-1].answered_by is not None:
            self._answering_to(rows[-1].model).put(rows[-1].answered_by)
        if call.request.purpose.on_call is not None:
            for row in rows:
                call.request.purpose.on_call(row)
        payload_of = partial(self._payload, sent, answer)
        keeping = self._keeper.keep(rows, payload_of, self._facts(call), has_reserved=call.has_reserved)
        self._keeper.beside(keeping)

    def _payload(self, sent: list[ChatMessage], answer: str, row: LlmCall) -> LlmCallPayload:
        return LlmCallPayload(row.id, kept_messages(sent, self._redact), self._redact(answer) if answer else None)

    def _facts(self, call: OpenCall) -> CallFacts:
        request = call.request
        return CallFacts(self.source.base_url, call.response_id, request.max_tokens, request.temperature)

    def _extend_in_time(self, call: OpenCall) -> None:
        """Extend the reservation of a call again and again until it ends."""

        def extend() -> None:
            self._keeper.beside(self._keeper.extend(call.id))
            self._extend_in_time(call)

        call.extension = asyncio.get_running_loop().call_later(RESERVED_SECONDS / 2, extend)
