"""Decides which writes the queue accepts: it is bounded in number and bytes.

Past the bounds, writes stand outside the queue, in order, for a bounded time. As many bytes may stand outside as in the
queue; past that a write fails immediately, because nobody awaits Chainlit's calls and so nobody would wait to make the
next one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import NotRunning, StorageUnavailable
from datalayer.records.chat import Step
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import (
    ElementWrite,
    Recorded,
    Removed,
    StepWrite,
    ThreadCut,
    ThreadWrite,
    UserWrite,
    VoteWrite,
    ids_of,
)

logger = logging.getLogger(__name__)

_BYTES_OF_A_WRITE = 1_000
_OBJECTS = ("modes", "metadata", "generation", "extra", "tags")
_texts_of = attrgetter(*(item.name for item in fields(Step) if item.type in (str, str | None)))
_objects_of = attrgetter(*_OBJECTS)

Operation = Callable[[AsyncConnection], Awaitable[Any]]
"""A write that is a function and no data: it cannot be spooled."""


@dataclass(eq=False, slots=True)
class QueuedWrite:
    """A write together with the future that its caller awaits."""

    thread_id: str | None
    operation: Operation | Recorded
    done: asyncio.Future[Any] = field(repr=False)
    size: int
    since: float
    """The time of the call, by the loop's clock: patience counts from the write, not from its batch."""
    give_up: asyncio.TimerHandle | None = None
    settled: bool = False
    is_abandoned: bool = False
    """Whether its caller was cancelled, and `done` is not the caller's any more."""
    is_undecided: bool = False
    """Whether its one statement ran, and its rows did not tell what became of the write."""
    cut: Removed | None = None
    """What the last attempt at a cut gave, whose commit may have been carried out although its answer was lost."""
    then: Callable[[], None] | None = None
    """Called when the write is stored or has failed."""

    def end(self) -> asyncio.Future[Any]:
        """Done when the write is stored or has failed, even if its caller was cancelled meanwhile."""
        if self.done.cancelled():
            self.done, self.is_abandoned = self.done.get_loop().create_future(), True
        return self.done

    def attempted(self, result: Any) -> Any:
        """The result of an attempt, before its commit. A cut that is applied again finds nothing, and gives what the
        first attempt cut."""
        if isinstance(self.operation, ThreadCut):
            self.cut = result if result.count or self.cut is None else self.cut
            return self.cut
        return result

    def settle(self, result: Any) -> None:
        """Give the caller the result, or the error if it is one; an error without a caller is logged."""
        # Kept apart from the future, which a cancelled caller has cancelled while its write still waits.
        self.settled = True
        if self.then is not None:
            self.then()
        if isinstance(result, Exception):
            self._settle_with_error(result)
        elif not self.done.done():
            self.done.set_result(result)

    def _settle_with_error(self, error: Exception) -> None:
        if self.is_abandoned or self.done.cancelled():
            thread_id, record_id = ids_of(self.operation) if isinstance(self.operation, Recorded) else (None, None)
            ids = {"thread_id": thread_id, "record_id": record_id}
            if isinstance(error, NotRunning):
                # Whoever cancelled the training wants it to store nothing more.
                logger.info("a write was left out, and nobody waits for it: %s", error, extra=ids)
            else:
                logger.error("a write was not stored, and its caller was cancelled: %s", error, extra=ids)
        if not self.done.done():
            fail(self.done, error)


class Admission:
    """The bounded queue of writes, and the writes that wait for room in it (the overflow)."""

    def __init__(self, *, most_queued: int, most_queued_bytes: int, seconds: float) -> None:
        """
        Args:
            most_queued: how many writes the queue takes.
            most_queued_bytes: how many bytes they may have, roughly; one write alone may have more.
            seconds: how long a write waits in the overflow before it fails.
        """
        self._most_queued, self._most_bytes, self._seconds = most_queued, most_queued_bytes, seconds
        self._waiting: deque[QueuedWrite] = deque()
        self._overflow: deque[QueuedWrite] = deque()
        self._in_flight: list[QueuedWrite] = []
        self._bytes = self._overflow_bytes = 0

    def __len__(self) -> int:
        """The number of writes that are not stored yet."""
        return len(self._waiting) + len(self._in_flight) + len(self._overflow)

    def enter(self, write: QueuedWrite) -> bool:
        """Add the write to the queue or the overflow; False if it failed because both are full."""
        if self._overflow and self._overflow_bytes + write.size > self._most_bytes:
            write.settle(StorageUnavailable("too many writes wait for the database"))
            return False
        self._overflow.append(write)
        self._overflow_bytes += write.size
        self._admit()
        if self._overflow:
            # All wait equally long, so they also leave in order.
            write.give_up = asyncio.get_running_loop().call_later(self._seconds, self._turn_away, write)
        return True

    def take_alone(self, write: QueuedWrite) -> None:
        """The write, which finds the queue empty, is in flight until `release`; its bytes do not count."""
        self._in_flight = [write]

    def take(self, most: int) -> list[QueuedWrite]:
        """The oldest writes of the queue, which are in flight until `release`."""
        self._in_flight = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
        return self._in_flight

    def release(self) -> None:
        """The writes in flight are stored or have failed: make room for others."""
        for write in self._in_flight:
            self._bytes -= write.size
        self._in_flight = []
        if self._overflow:
            self._admit()

    def unstored(self) -> list[QueuedWrite]:
        """All writes that are not stored yet, in the order of their calls."""
        return [*self._in_flight, *self._waiting, *self._overflow]

    def empty(self) -> list[QueuedWrite]:
        """Take out all writes; gives those without a result."""
        left = [write for write in self.unstored() if not write.settled]
        self._in_flight, self._waiting, self._overflow = [], deque(), deque()
        for write in left:
            if write.give_up is not None:
                write.give_up.cancel()
        return left

    def _admit(self) -> None:
        """Move writes from outside into the queue, in order, while there is room."""
        while self._overflow:
            queued = len(self._waiting) + len(self._in_flight)
            size = self._overflow[0].size
            if queued and (queued >= self._most_queued or self._bytes + size > self._most_bytes):
                return
            write = self._overflow.popleft()
            if write.give_up is not None:
                write.give_up.cancel()
            self._overflow_bytes -= size
            self._bytes += size
            self._waiting.append(write)

    def _turn_away(self, write: QueuedWrite) -> None:
        self._overflow.remove(write)
        self._overflow_bytes -= write.size
        write.settle(StorageUnavailable("too many writes wait for the database"))


def fail(done: asyncio.Future[Any], error: Exception) -> None:
    """Set the error, without asyncio's complaint if nobody awaits the future."""
    done.set_exception(error)
    # Chainlit drops the task that awaits this; the layer has logged the failure itself.
    done.exception()


def threads_before(writes: Iterable[QueuedWrite], seconds: float) -> set[str]:
    """The threads of those of these writes that were queued more than so many seconds ago."""
    before = asyncio.get_running_loop().time() - seconds
    return {
        write.thread_id
        for write in writes
        if write.thread_id is not None and write.since < before and not write.settled
    }


def rough_size(operation: Operation | Recorded) -> int:
    """About how many bytes of memory the write holds."""
    held: int = 0
    match operation:
        case StepWrite(step=step):
            held = sum(map(len, filter(None, _texts_of(step)))) + sum(map(_size, filter(None, _objects_of(step))))
        case ThreadWrite(thread=thread):
            held = _size(thread.metadata)
        case ElementWrite(element=element):
            held = _size(element.props) + _size(element.extra)
        case VoteWrite(vote=vote):
            held = _size(vote.comment)
        case UserWrite(user=user):
            held = _size(user.metadata)
        case LlmCallWrite(call=call, payload=payload):
            held = _size(call.error_message)
            held += _size(payload.messages) + _size(payload.response) if payload is not None else 0
    return _BYTES_OF_A_WRITE + held


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_size(key) + _size(inner) + 50 for key, inner in value.items())
    return sum(_size(inner) + 50 for inner in value) if isinstance(value, list) else 0


def runs(writes: list[QueuedWrite]) -> list[tuple[bool, list[QueuedWrite]]]:
    """Split into runs of steps and runs of other writes, as few as keep the order within each thread.

    When many chats begin at once, their questions and their threads alternate; in the order of the calls, each would be
    a transaction by itself. A write without a thread id keeps its place among all. True marks a run of steps.
    """
    found: list[tuple[bool, list[QueuedWrite]]] = []
    earliest: dict[str, int] = {}
    barrier = 0
    for write in writes:
        kind = isinstance(write.operation, StepWrite)
        thread_id = write.thread_id
        first = len(found) - 1 if thread_id is None else max(barrier, earliest.get(thread_id, 0))
        at = next((number for number in range(max(first, 0), len(found)) if found[number][0] == kind), len(found))
        if at == len(found):
            found.append((kind, []))
        found[at][1].append(write)
        if thread_id is None:
            barrier = at
        else:
            earliest[thread_id] = at
    return found
