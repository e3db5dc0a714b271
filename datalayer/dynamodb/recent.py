"""What this process knows of its own recent writes: which threads exist, where steps are, and what an index may lack.

All of it may be wrong or missing: every write has conditions, and a read takes what it finds here as a hint of where
to look. So it is bounded in number, and other processes need not know of it.
"""

import time
from collections.abc import Iterable

from cachetools import LRUCache, TTLCache

_MOST = 20_000
LAG_SECONDS = 30.0
"""For how long the index may not have a write yet; usually it is well below a second."""


class Recent:
    """Hints, from one event loop."""

    def __init__(self) -> None:
        self._threads: LRUCache[str, bool] = LRUCache(_MOST)
        self._steps: LRUCache[str, str] = LRUCache(_MOST)
        self._of_user: TTLCache[tuple[str, str], float] = TTLCache(_MOST, LAG_SECONDS, time.monotonic)

    def exists(self, thread_id: str) -> bool:
        """Whether the thread probably exists."""
        return thread_id in self._threads

    def note(self, thread_id: str, owner: str | None) -> None:
        """The thread, of this owner if known, was stored or read."""
        self._threads[thread_id] = True
        if owner is not None:
            self._of_user[owner, thread_id] = time.monotonic()

    def forget(self, thread_id: str) -> None:
        """The thread was deleted."""
        self._threads.pop(thread_id, None)

    def note_steps(self, thread_id: str, step_ids: Iterable[str]) -> None:
        """These steps are, or will be, in this thread."""
        for step_id in step_ids:
            self._steps[step_id] = thread_id

    def thread_of(self, step_id: str) -> str | None:
        """The thread of a step, if it is known."""
        found: str | None = self._steps.get(step_id)
        return found

    def threads_of(self, owner: str) -> list[str]:
        """The threads that this process wrote for this user within `LAG_SECONDS`."""
        return [thread_id for name, thread_id in list(self._of_user) if name == owner]
