"""Runs the embedding worker: started by the first request, ended when idle, started again when it has ended."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections import deque
from contextlib import suppress
from typing import Any

from threadkeeper.programs import command

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 300.0
# Loading the model takes two seconds, a batch of chunks less; a machine may be twenty times slower.
_PATIENCE_SECONDS = 120.0
# While the process answers one request, the next one lies in its input, so that it never waits for this process.
_AT_ONCE = 2


class WorkerFailed(Exception):
    """The worker ended or gave no answer, twice."""


class EmbeddingWorker:
    """One process. Requests wait for each other; an urgent one goes before those that wait.

    Args:
        idle_seconds: without a request, after which the process ends and gives its memory back.
        patience_seconds: to wait for an answer.
    """

    def __init__(self, idle_seconds: float = _IDLE_SECONDS, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._idle_seconds, self._patience_seconds = idle_seconds, patience_seconds
        self._starting = asyncio.Lock()
        self._running: _Process | None = None
        self._turns = _Turns()

    @property
    def process_id(self) -> int | None:
        """The id of the process; None if none runs."""
        return self._running.id if self._running is not None and self._running.is_alive else None

    async def ask(self, request: dict[str, Any], *, is_urgent: bool = False) -> tuple[Any, bytes]:
        """The answer to a request.

        Raises:
            WorkerFailed: the process ended or gave no answer, twice.
        """
        # In a thread, because a document may have five million characters.
        encoded = await asyncio.to_thread(_encoded, request)
        failures = 0
        async with self._turns.of(is_urgent=is_urgent):
            while True:
                process = await self._process()
                try:
                    return await process.ask(encoded, self._patience_seconds)
                except _NotBegun:
                    continue
                except (OSError, ValueError, EOFError, TimeoutError) as error:
                    await process.end()
                    failures += 1
                    # An idle process may have ended just now.
                    if failures == 2:
                        reason = f"{type(error).__name__}: {error}"
                        logger.error("the embedding worker gives no answer: %s", reason)
                        raise WorkerFailed(reason) from error

    async def _process(self) -> _Process:
        async with self._starting:
            if self._running is None or not self._running.is_alive:
                if self._running is not None:
                    await self._running.end()
                self._running = await _Process.start(self._idle_seconds)
            return self._running

    async def close(self) -> None:
        if self._running is not None:
            await self._running.end()
            self._running = None


def _encoded(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode("ascii")


class _NotBegun(Exception):
    """The process ended while it worked on an earlier request."""


class _Process:
    """A running worker. It answers in the order of the requests."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: deque[asyncio.Future[tuple[Any, bytes]]] = deque()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, idle_seconds: float) -> _Process:
        return cls(
            await asyncio.create_subprocess_exec(
                *command("threadkeeper.knowledge.worker", str(idle_seconds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    @property
    def id(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None and not self._reading.done()

    async def ask(self, encoded: bytes, patience_seconds: float) -> tuple[Any, bytes]:
        """The answer. A caller that is cancelled leaves its answer to nobody.

        Raises:
            _NotBegun: the process ended before it came to this request.
            OSError, ValueError, EOFError, TimeoutError: it gave no answer.
        """
        assert self._process.stdin is not None
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        async with asyncio.timeout(patience_seconds):
            self._process.stdin.write(struct.pack(">I", len(encoded)) + encoded)
            await self._process.stdin.drain()
            found: tuple[Any, bytes] = await answer
            return found

    async def _read(self) -> None:
        """Give each answer to the oldest request, until the process ends."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while True:
                (length,) = struct.unpack(">I", await stdout.readexactly(4))
                header = json.loads(await stdout.readexactly(length))
                data = await stdout.readexactly(header["bytes"])
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result((header["result"], data))
        except (OSError, ValueError, EOFError) as error:
            reason: Exception = error
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(reason)
                reason = _NotBegun()

    async def end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reading


class _Turns:
    """A few requests at a time, urgent ones first."""

    def __init__(self) -> None:
        self._waiting: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]] = (deque(), deque())
        self._free = _AT_ONCE

    def of(self, *, is_urgent: bool) -> _Turn:
        return _Turn(self, is_urgent)

    async def take(self, is_urgent: bool) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[0 if is_urgent else 1].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        for waiting in self._waiting:
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


class _Turn:
    def __init__(self, turns: _Turns, is_urgent: bool) -> None:
        self._turns, self._is_urgent = turns, is_urgent

    async def __aenter__(self) -> None:
        await self._turns.take(self._is_urgent)

    async def __aexit__(self, *_: object) -> None:
        self._turns.give()
