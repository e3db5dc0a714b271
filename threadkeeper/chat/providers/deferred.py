"""A model that imports its package when it is first needed: when somebody opens a chat, or asks a question.

The `openai` package takes half a second and 13 MB. A server that nobody uses yet needs neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from threadkeeper.chat.model import AnswerEvent, Completion, Model, ModelError, ModelRequest, Source


class DeferredModel:
    """Loads the model at the first use, and passes requests on to it.

    Args:
        source: the server that answers, as the loaded model names it.
        make: imports and creates the model. It runs in a thread, once. If it fails, each request raises ModelError.
    """

    demo = False

    def __init__(self, source: Source, make: Callable[[], Model]) -> None:
        self.source = source
        self._make = make
        self._model: Model | None = None
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        await self._loaded()

    def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        # Once the model is there, no event passes through here.
        return self._model.stream(request) if self._model is not None else self._loaded_stream(request)

    async def _loaded_stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        model = await self._loaded()
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                yield event

    async def complete(self, request: ModelRequest) -> Completion:
        return await (await self._loaded()).complete(request)

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()

    async def _loaded(self) -> Model:
        async with self._lock:
            if self._model is None:
                try:
                    self._model = await asyncio.to_thread(self._make)
                except Exception as error:
                    raise ModelError("server", f"cannot load the client: {type(error).__name__}: {error}") from error
            return self._model
