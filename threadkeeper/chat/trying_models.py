"""Asks a model one short question outside of a thread, to see whether it answers, and finds out which have a price."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from datalayer.cleaning import utc_now
from datalayer.records.usage import LlmCall, Price
from threadkeeper.chat.answer import no_answer
from threadkeeper.chat.model import Model, ModelError, ModelRequest, NotShown, Purpose
from threadkeeper.chat.trying import KIND
from threadkeeper.chat.wording import say
from threadkeeper.pricing.rates import rates_of

MOST_TOKENS = 200
"""Of the answer. A model that thinks needs some before its first word."""
TRY_SECONDS = 30.0


class PriceStore(Protocol):
    async def list_prices(self) -> list[Price]: ...
    async def last_answered_by_each(self, models: Sequence[str], provider: str) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class TriedModel:
    """What came of it: the answer, or the kind of the failure (ErrorKind), and the words of the server with its status.

    `call` is the row of the call; None if no request was sent, or the demo answers.
    """

    model: str
    question: str
    answer: str
    seconds: float
    call: LlmCall | None = None
    problem: str | None = None
    words: str = ""


class ModelTrial:
    """Tries models of one server. The calls are metered, and count for the user who tries."""

    def __init__(self, model: Model, store: PriceStore) -> None:
        self._model, self._store = model, store

    async def __call__(self, model: str, *, user_id: str, language: str) -> TriedModel:
        """Ask this model. A failure is part of the result; it is not asked a second time."""
        question, calls, began = say("try_model_question", language), list[LlmCall](), time.perf_counter()
        request = ModelRequest(
            [{"role": "user", "content": question}],
            model,
            max_tokens=MOST_TOKENS,
            purpose=Purpose(KIND, user_id=user_id, on_call=calls.append),
            wait_until=began,
        )
        answer, failure = "", None
        try:
            async with asyncio.timeout(TRY_SECONDS):
                completion = await self._model.complete(request)
            answer = completion.text
            if not answer.strip():
                not_shown = [one.kind if isinstance(one, NotShown) else "pictures" for one in completion.others]
                raise no_answer(completion.finish, completion.thought, not_shown, MOST_TOKENS)
        except TimeoutError:
            failure = ModelError("timeout", f"no whole answer within {TRY_SECONDS:g} s")
        except ModelError as error:
            failure = error
        seconds, call = time.perf_counter() - began, calls[-1] if calls else None
        if failure is None:
            return TriedModel(model, question, answer, seconds, call)
        return TriedModel(model, question, answer, seconds, call, failure.kind, failure.detail)

    async def without_price(self, models: Iterable[str]) -> frozenset[str]:
        """Which of these models have no price today, neither of the operator nor a published one.

        Raises:
            DataLayerError: the prices cannot be read.
        """
        if self._model.demo:
            return frozenset()
        own, source, now, names = await self._store.list_prices(), self._model.source, utc_now(), [*models]
        answering = dict[str, str]()
        if source.has_deployments:
            answering = await self._store.last_answered_by_each(names, source.provider)

        def find() -> frozenset[str]:
            return frozenset(
                name
                for name in names
                if rates_of(
                    own,
                    model=name,
                    when=now,
                    provider=source.provider,
                    answered_by=answering.get(name),
                    base_url=source.base_url,
                )
                is None
            )

        # The first look loads the table of published prices.
        return await asyncio.to_thread(find)
