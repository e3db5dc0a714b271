"""What was read from the store a moment ago, so that not every call to a model reads it again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from datalayer.errors import DataLayerError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE_SECONDS = 5.0


class Remembered(Generic[T]):
    """One value, read when it is asked for and older than `seconds`; many who ask at once wait for one reading."""

    def __init__(self, what: str, read: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._what, self._read, self._seconds = what, read, seconds
        self._value: T | None = None
        self._since: float | None = None
        self._lock = asyncio.Lock()

    @property
    def newest(self) -> T | None:
        """The value as it was read last, however long ago; None where it never was."""
        return self._value

    async def get(self) -> T:
        """The value; an older one where it cannot be read now.

        Raises:
            DataLayerError: it cannot be read, and never was.
            TimeoutError: likewise.
        """
        if self._is_old():
            async with self._lock:
                if self._is_old():
                    await self._refresh()
        return self._value  # type: ignore[return-value]  # read, if only once

    def _is_old(self) -> bool:
        return self._since is None or time.monotonic() - self._since > self._seconds

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._value = await self._read()
        except (DataLayerError, TimeoutError) as error:
            if self._since is None:
                raise
            logger.warning("%s cannot be read now, and are taken as they were: %s", self._what, error)
        self._since = time.monotonic()
