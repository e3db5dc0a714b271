"""A model whose every call is accounted for: a row for each time that a server was asked, whatever became of it.

It wraps the model that calls, so that nobody who asks a question can forget it. Before a question goes out, limits are
asked whether it may; when its answer has ended (complete, failed, cut, stopped) the row is made at once and kept beside
what goes on. Tokens are those that the server reports; where it says nothing of an answer that it has begun, they are
counted here, and the row says so. A request that was refused, or that reached nobody, has neither tokens nor cost.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

from datalayer.cleaning import clean_time
from datalayer.errors import DataLayerError
from datalayer.usage_records import LlmCall, LlmCallPayload, Price, tokens_per_second
from threadkeeper.chat.limits import RESERVED_SECONDS, Allowances, LimitStore
from threadkeeper.chat.llm import Attempt, Completion, Delta, Finish, Model, ModelError, ModelRequest, Source, Usage
from threadkeeper.chat.messages import ChatMessage, all_text, on_the_wire, picture_count
from threadkeeper.chat.payloads import kept_messages
from threadkeeper.chat.pricing import Rates, rates_of
from threadkeeper.chat.remembered import Remembered
from threadkeeper.chat.tokens import TokenCounter, counter_for, message_tokens

logger = logging.getLogger(__name__)

STOPPED = "stopped"
"""The finish_reason of a call that its caller ended."""

_PRICES_SECONDS = 10.0
_PROJECT_SECONDS = 3600.0
_CLOSE_SECONDS = 0.5


class CallStore(LimitStore, Protocol):
    async def record_call(self, call: LlmCall, payload: LlmCallPayload | None = None) -> None: ...
    async def list_prices(self) -> list[Price]: ...
    async def default_project(self) -> str: ...
    async def extend(self, call_id: str, *, seconds: float) -> None: ...
    async def release(self, call_id: str) -> None: ...


@dataclass(slots=True)
class _Question:
    """A question under way, and what has come of it so far."""

    request: ModelRequest
    id: str
    project_id: str | None
    counter: TokenCounter
    is_streaming: bool
    has_reserved: bool = False
    extension: asyncio.TimerHandle | None = None
    began: Attempt = field(default_factory=Attempt)
    parts: list[str] = field(default_factory=list)
    first: float | None = None
    finish: Finish | None = None
    error: ModelError | None = None
    stopped: bool = False
    ended: float = 0.0

    def take(self, event: Delta | Finish) -> None:
        if isinstance(event, Finish):
            self.finish = event
            return
        if self.first is None:
            self.first = time.perf_counter()
        self.parts.append(event.text)


class MeteredModel:
    """Another model, with the books kept."""

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
            model: the one that is asked.
            store: where calls, prices and limits are kept.
            zone: the days and months of limits are those of this time zone.
            window: the most tokens that question and answer may have together; without it, those known of the model.
            keep_payloads: whether what was said is kept with each call.
            redact: takes secrets out of a text.
        """
        self.demo = model.demo
        self._model, self._store = model, store
        self._keep_payloads, self._redact = keep_payloads, redact
        self._allowances = Allowances(store, zone, window)
        self._prices = Remembered("the prices", store.list_prices, _PRICES_SECONDS)
        self._project = Remembered("the default project", store.default_project, _PROJECT_SECONDS)
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def source(self) -> Source:
        return self._model.source

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        question = await self._begin(request, is_streaming=True)
        try:
            async with aclosing(self._model.stream(question.request)) as events:
                async for event in events:
                    question.take(event)
                    yield event
        except ModelError as error:
            question.error = error
            raise
        except (asyncio.CancelledError, GeneratorExit):
            question.stopped = True
            raise
        finally:
            await self._end(question)

    async def complete(self, request: ModelRequest) -> Completion:
        question = await self._begin(request, is_streaming=False)
        try:
            completion = await self._model.complete(question.request)
            question.take(Delta(completion.text))
            question.take(completion.finish)
        except ModelError as error:
            question.error = error
            raise
        except asyncio.CancelledError:
            question.stopped = True
            raise
        finally:
            await self._end(question)
        return completion

    async def close(self) -> None:
        """Let what is being kept come into the store's queue, and close the model."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=_CLOSE_SECONDS)
        await self._model.close()

    async def _begin(self, request: ModelRequest, *, is_streaming: bool) -> _Question:
        """Raises ModelError where the question may not be asked."""
        await self._known(self._prices)
        project_id = await self._known(self._project)
        question = _Question(
            replace(request, attempts=[]),
            str(uuid.uuid4()),
            project_id,
            counter_for(request.model),
            is_streaming,
        )
        if await self._allowances.concern(request.purpose.user_id, project_id):
            sent = on_the_wire(request.messages)
            tokens = await message_tokens(sent, question.counter)
            rates = self._rates(request.model, None, question.began.requested_at, tokens)
            try:
                question.request = await self._allowances.admit(
                    question.request, question.id, project_id, tokens, rates
                )
            except (ModelError, asyncio.CancelledError) as error:
                if not isinstance(error, ModelError) or error.kind == "limit_unchecked":
                    # It may be set aside all the same.
                    self._beside(self._release(question.id))
                raise
            question.has_reserved = True
            self._extend_in_time(question)
            # The time that the question took begins when it is asked.
            question.began = Attempt()
        return question

    async def _known(self, remembered: Remembered[Any]) -> Any:
        try:
            return await remembered.get()
        except (DataLayerError, TimeoutError) as error:
            logger.warning("a call is made that its row will say less of: %s", error)
            return None

    def _rates(self, model: str, answered_by: str | None, when: str, prompt_tokens: int) -> Rates | None:
        return rates_of(
            self._prices.newest or (),
            model=model,
            when=when,
            provider=self.source.provider,
            answered_by=answered_by,
            base_url=self.source.base_url,
            prompt_tokens=prompt_tokens,
        )

    async def _end(self, question: _Question) -> None:
        """Have what became of it kept. It raises nothing but that its task is ended: an answer is worth more than its
        row. Where the server said what it took nothing is waited for, as the task may be on its way out.
        """
        question.ended = time.perf_counter()
        if question.extension is not None:
            question.extension.cancel()
        if question.finish is None and question.error is None and not question.stopped:
            question.error = ModelError("cut", "the model's stream ended without a Finish")
        if not _is_unreported(question):
            self._account(question, None)
            return
        # Goes on where the task is ended a second time meanwhile.
        await asyncio.shield(self._beside(self._account_counted(question)))

    async def _account_counted(self, question: _Question) -> None:
        try:
            sent = on_the_wire(question.request.messages)
            prompt_tokens = await message_tokens(sent, question.counter)
            counted = Usage(prompt_tokens, await question.counter.count("".join(question.parts)))
        except Exception:
            logger.exception("the tokens of a call cannot be counted", extra={"call_id": question.id})
            counted = None
        self._account(question, counted)

    def _account(self, question: _Question, counted: Usage | None) -> None:
        """`counted`: the tokens as counted here, where the server does not say."""
        try:
            self._account_rows(question, counted)
        except Exception:
            logger.exception("a call to a model is not accounted for", extra={"call_id": question.id})
            if question.has_reserved:
                self._beside(self._release(question.id))

    def _account_rows(self, question: _Question, counted: Usage | None) -> None:
        sent = on_the_wire(question.request.messages)
        answer = "".join(question.parts)
        *earlier, last = _attempts(question)
        rows = [self._failed(question, sent, attempt, at) for at, attempt in enumerate(earlier, 1)]
        rows.append(self._last(question, sent, last, len(earlier) + 1, answer, counted=counted))
        if question.request.purpose.on_call is not None:
            for row in rows:
                question.request.purpose.on_call(row)
        self._beside(self._keep(question, rows, sent, answer))

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return task

    async def _keep(self, question: _Question, rows: list[LlmCall], sent: list[ChatMessage], answer: str) -> None:
        payload = None
        if self._keep_payloads:
            payload = LlmCallPayload(
                rows[-1].id, kept_messages(sent, self._redact), self._redact(answer) if answer else None
            )
        # All at once: the store takes them in this order, so what was set aside is given back when the row counts.
        writes = [self._store.record_call(row) for row in rows[:-1]]
        writes.append(self._store.record_call(rows[-1], payload))
        if question.has_reserved:
            writes.append(self._release(question.id))
        for failure in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(failure, Exception):
                ids = {"thread_id": question.request.purpose.thread_id, "call_id": question.id}
                logger.error("a call to a model is not accounted for: %s", failure, extra=ids)

    def _extend_in_time(self, question: _Question) -> None:
        """Have what is set aside for the question count for as long as it is under way."""

        def extend() -> None:
            self._beside(self._extend(question.id))
            self._extend_in_time(question)

        question.extension = asyncio.get_running_loop().call_later(RESERVED_SECONDS / 2, extend)

    async def _extend(self, call_id: str) -> None:
        try:
            await self._store.extend(call_id, seconds=RESERVED_SECONDS)
        except DataLayerError as error:
            logger.warning("what is set aside for a call is not extended: %s", error)

    async def _release(self, call_id: str) -> None:
        try:
            await self._store.release(call_id)
        except DataLayerError as error:
            logger.warning("what was set aside for a call counts until its time is up: %s", error)

    # Rows

    def _row(self, question: _Question, sent: list[ChatMessage], attempt: Attempt, number: int) -> LlmCall:
        request, purpose = question.request, question.request.purpose
        seconds = question.ended - attempt.began if attempt.seconds is None else attempt.seconds
        return LlmCall(
            id=question.id,
            kind=purpose.kind,
            model=request.model,
            requested_at=attempt.requested_at,
            responded_at=_later(attempt.requested_at, seconds),
            project_id=question.project_id,
            provider=self.source.provider,
            deployment=request.model if self.source.has_deployments else None,
            user_id=purpose.user_id,
            thread_id=purpose.thread_id,
            step_id=purpose.step_id,
            assistant=purpose.assistant,
            attempt=number,
            is_streaming=question.is_streaming,
            status_code=attempt.status_code,
            query_characters=sum(len(all_text(message)) for message in sent),
            seconds=seconds,
            tags=purpose.tags,
            library=self.source.library,
            operating_system=_operating_system(),
        )

    def _failed(self, question: _Question, sent: list[ChatMessage], attempt: Attempt, number: int) -> LlmCall:
        """An attempt that another one followed."""
        row = replace(self._row(question, sent, attempt, number), id=str(uuid.uuid4()))
        return _with_error(row, attempt.error, self._redact)

    def _last(
        self,
        question: _Question,
        sent: list[ChatMessage],
        attempt: Attempt,
        number: int,
        answer: str,
        *,
        counted: Usage | None,
    ) -> LlmCall:
        row = self._row(question, sent, attempt, number)
        if attempt.error is not None:
            return _with_error(row, attempt.error, self._redact)
        finish, first = question.finish, question.first
        row = replace(
            _with_error(row, question.error, self._redact),
            status_code=attempt.status_code or (200 if finish else None),
            answered_by=finish.model if finish else None,
            finish_reason=finish.reason if finish else STOPPED if question.stopped else None,
            response_characters=len(answer),
            first_token_seconds=None if first is None else first - attempt.began,
        )
        usage = _reported(question) or counted
        if usage is None:
            return row
        rates = self._rates(row.model, row.answered_by, row.requested_at, usage.prompt_tokens)
        images = picture_count(sent)
        if rates is not None:
            costs = rates.costs(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens or 0, images)
            row = replace(
                row, input_cost=costs.input, output_cost=costs.output, total_cost=costs.total, price=costs.price
            )
        elif images:
            # Nothing else says how many there were, once there is a price for them.
            row = replace(row, price={"images": images})
        return replace(
            row,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            is_estimated=counted is not None,
            tokens_per_second=tokens_per_second(usage.completion_tokens, row.seconds),
        )


def _attempts(question: _Question) -> list[Attempt]:
    return question.request.attempts or [question.began]


def _reported(question: _Question) -> Usage | None:
    """What the server says that it took."""
    billed = question.finish or question.error
    return billed.usage if billed else None


def _is_unreported(question: _Question) -> bool:
    """Whether the server has worked for it, so that it will be billed, and does not say what it took."""
    attempt = _attempts(question)[-1]
    if attempt.error is not None or _reported(question) is not None:
        return False
    if question.parts or question.finish is not None:
        return True
    broke_off = question.stopped or (question.error is not None and question.error.kind in ("cut", "timeout"))
    return broke_off and attempt.status_code is not None


def _with_error(row: LlmCall, error: ModelError | None, redact: Callable[[str], str]) -> LlmCall:
    return row if error is None else replace(row, error_kind=error.kind, error_message=redact(error.detail))


def _later(moment: str, seconds: float) -> str | None:
    return clean_time(datetime.fromisoformat(moment) + timedelta(seconds=seconds), "time of an answer")


@lru_cache(maxsize=1)
def _operating_system() -> str:
    return platform.platform(terse=True)
