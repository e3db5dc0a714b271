"""A model that is made when it is first asked: the package behind it is 13 MB and a third of a second to import."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from threadkeeper.chat.llm import Completion, Delta, Finish, Model, ModelRequest, Source


class LaterModel:
    """Another model, which `make` gives once."""

    demo = False

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._made: Model | None = None
        self._lock = threading.Lock()

    @property
    def source(self) -> Source:
        return self._model().source

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        await self.prepare()
        async with aclosing(self._model().stream(request)) as events:
            async for event in events:
                yield event

    async def complete(self, request: ModelRequest) -> Completion:
        await self.prepare()
        return await self._model().complete(request)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    async def prepare(self) -> None:
        """Make the model, in a thread: others are answered meanwhile."""
        if self._made is None:
            await asyncio.to_thread(self._model)

    def _model(self) -> Model:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made
