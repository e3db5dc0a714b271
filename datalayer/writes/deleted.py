"""Which threads were deleted here: a session that is still open writes on, and must not bring its thread back."""

import logging
from collections import OrderedDict

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000


class DeletedThreads:
    """The last of the threads that were deleted through this process."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, thread_id: str) -> None:
        self._ids[thread_id] = None
        if len(self._ids) > MOST_REMEMBERED:
            self._ids.popitem(last=False)

    def discard(self, thread_id: str) -> None:
        """It is there again: another process has opened it anew."""
        self._ids.pop(thread_id, None)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, thread_id: str | None) -> bool:
        return thread_id in self._ids
