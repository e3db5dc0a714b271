"""A value from the store that is cached for some seconds, so that not every call to a model reads it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from datalayer.errors import DataLayerError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE_SECONDS = 5.0


class CachedValue(Generic[T]):
    """One value, read again when it is older than `seconds`. Callers that ask at the same time wait for one read.

    Args:
        what: the value's name in the log.
        read: reads it from the store.
        seconds: how long it is used without being read again.
    """

    def __init__(self, what: str, read: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._what, self._read, self._seconds = what, read, seconds
        self._value: T | None = None
        self._since: float | None = None
        self._lock = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    @property
    def newest(self) -> T | None:
        """The value that was read last, of any age; None if it was never read."""
        return self._value

    def put(self, value: T) -> None:
        """Use this value, which is newer than the one that was read."""
        self._value, self._since = value, time.monotonic()

    def begin_reading(self) -> None:
        """Begin to read the value if it is old; a later `get` waits for it, and gets the error if there is one."""
        if self._is_old() and not self._lock.locked():
            self._reading = asyncio.create_task(self._try(), name="read-cached-value")

    async def _try(self) -> None:
        with contextlib.suppress(DataLayerError, TimeoutError):
            await self.get()

    async def get(self) -> T:
        """The value; an older one if reading fails.

        Raises:
            DataLayerError: reading failed, and there is no older value.
            TimeoutError: reading took more than five seconds, and there is no older value.
        """
        if self._is_old():
            async with self._lock:
                if self._is_old():
                    await self._refresh()
        return self._value  # type: ignore[return-value]  # it was read at least once

    def _is_old(self) -> bool:
        return self._since is None or time.monotonic() - self._since > self._seconds

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._value = await self._read()
        except (DataLayerError, TimeoutError) as error:
            if self._since is None:
                raise
            logger.warning("cannot read %s; using the value that was read before: %s", self._what, error)
        self._since = time.monotonic()
