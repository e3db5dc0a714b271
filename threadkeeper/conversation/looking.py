"""Tasks that look at something from the start of the process to its end."""

import asyncio
import contextvars
from abc import ABC, abstractmethod


class Looking(ABC):
    """Runs `_run` in one task, in an empty context, because it looks for all users."""

    def __init__(self, name: str) -> None:
        """Nothing runs until `start`. `name` is the name of the asyncio task."""
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, until `stop`."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context(), name=self._name
            )

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @abstractmethod
    async def _run(self) -> None:
        """Look again and again, without an end."""
