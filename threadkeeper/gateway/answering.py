"""Which model answers under a name: a deployment of Azure has a name of its own, and the price of its model."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from cachetools import LRUCache

from datalayer.errors import DataLayerError
from datalayer.records.usage import LlmCall
from threadkeeper.chat.metering.cached import CachedValue

_SECONDS = 60.0
_MOST_NAMES = 1_000


class AnsweringStore(Protocol):
    async def last_answered_by(self, model: str, provider: str) -> str | None: ...


class Answering:
    """The models that last answered, on any server process."""

    def __init__(self, store: AnsweringStore) -> None:
        self._store = store
        self._names: LRUCache[tuple[str, str], CachedValue[str | None]] = LRUCache(_MOST_NAMES)

    async def of(self, row: LlmCall) -> str | None:
        """The model that last answered to the name that this call asks for; None if it is not known."""
        try:
            return await self._value(row).get()
        except (DataLayerError, TimeoutError):
            return None

    def note(self, row: LlmCall) -> None:
        """Take the name from a call that was answered."""
        if row.answered_by is not None:
            self._value(row).put(row.answered_by)

    def _value(self, row: LlmCall) -> CachedValue[str | None]:
        name = row.provider or "", row.model
        if (found := self._names.get(name)) is None:
            read = partial(self._store.last_answered_by, row.model, row.provider or "")
            found = self._names[name] = CachedValue(f"what answers as {row.model}", read, _SECONDS)
        return found
