"""Runs the embedding worker: started by the first request, ended when idle, started again when it has ended."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections import deque
from typing import Any

from threadkeeper.programs import command

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 300.0
# Loading the model takes two seconds, a batch of chunks less; a machine may be twenty times slower.
_PATIENCE_SECONDS = 120.0


class WorkerFailed(Exception):
    """The worker ended or gave no answer, twice."""


class EmbeddingWorker:
    """One process. Requests wait for each other; an urgent one goes before those that wait.

    Args:
        idle_seconds: without a request, after which the process ends and gives its memory back.
    """

    def __init__(self, idle_seconds: float = _IDLE_SECONDS, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._idle_seconds, self._patience_seconds = idle_seconds, patience_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turns = _Turns()

    @property
    def process_id(self) -> int | None:
        """The id of the process; None if none runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ask(self, request: dict[str, Any], *, is_urgent: bool = False) -> tuple[Any, bytes]:
        """The answer to a request.

        Raises:
            WorkerFailed: the process ended or gave no answer, twice.
        """
        encoded = json.dumps(request).encode("ascii")
        async with self._turns.of(is_urgent=is_urgent):
            # An idle process may have ended just now.
            for last_try in (False, True):
                try:
                    return await self._answer(encoded)
                except (OSError, ValueError, EOFError, TimeoutError) as error:
                    await self._end()
                    if last_try:
                        reason = f"{type(error).__name__}: {error}"
                        logger.error("the embedding worker gives no answer: %s", reason)
                        raise WorkerFailed(reason) from error
        raise AssertionError

    async def _answer(self, encoded: bytes) -> tuple[Any, bytes]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                *command("threadkeeper.knowledge.worker", str(self._idle_seconds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._patience_seconds):
                process.stdin.write(struct.pack(">I", len(encoded)) + encoded)
                await process.stdin.drain()
                (length,) = struct.unpack(">I", await process.stdout.readexactly(4))
                header = json.loads(await process.stdout.readexactly(length))
                return header["result"], await process.stdout.readexactly(header["bytes"])
        except asyncio.CancelledError:
            # The answer would be taken for that of the next request.
            await self._end()
            raise

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def close(self) -> None:
        await self._end()


class _Turns:
    """One request at a time, urgent ones first."""

    def __init__(self) -> None:
        self._waiting: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]] = (deque(), deque())
        self._is_taken = False

    def of(self, *, is_urgent: bool) -> _Turn:
        return _Turn(self, is_urgent)

    async def take(self, is_urgent: bool) -> None:
        if not self._is_taken:
            self._is_taken = True
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
        self._is_taken = False


class _Turn:
    def __init__(self, turns: _Turns, is_urgent: bool) -> None:
        self._turns, self._is_urgent = turns, is_urgent

    async def __aenter__(self) -> None:
        await self._turns.take(self._is_urgent)

    async def __aexit__(self, *_: object) -> None:
        self._turns.give()
