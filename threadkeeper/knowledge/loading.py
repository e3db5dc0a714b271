"""Loads the documents of a file, in a process with limits on memory, CPU time and file size, and without network."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from threadkeeper.documents.process import end, failure, start, too_slow
from threadkeeper.documents.worker.reading import Refusal
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Taken
from threadkeeper.knowledge.loaders.formats import LoadKind

# A character takes at most 12 bytes of JSON in ASCII.
_MOST_BYTES = 256 * 1024 * 1024
_END_SECONDS = 5.0
_PIECE_BYTES = 256 * 1024


class LoadRefused(Exception):
    """Nothing, or nothing more, can be loaded of this file, and the reason why.

    `missing` are the chosen columns, or the chosen sheet, that a table lacks.
    """

    def __init__(self, refusal: Refusal, missing: Sequence[str] = ()) -> None:
        super().__init__(refusal)
        self.refusal: Refusal = refusal
        self.missing = tuple(missing)


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Args:
    seconds: of CPU time for a file, and of waiting for its next document.
    megabytes: MiB of a file.
    options: the other limits.
    """

    seconds: float = 60.0
    megabytes: float = 50.0
    options: LoadOptions = field(default_factory=LoadOptions)


class Load:
    """One load of one file; `taken` is complete when `documents` has ended."""

    def __init__(self, kind: LoadKind, name: str, data: bytes, limits: LoadLimits, **options: Any) -> None:
        """
        Args:
            options: of the source, as in `LoadOptions`.
        """
        self._kind, self._name, self._data, self._limits = kind, name, data, limits
        self._options = replace(limits.options, **options)
        self.taken = Taken()

    async def documents(self) -> AsyncGenerator[LoadedDocument, None]:
        """The documents, one after another. The process waits while the caller works on one.

        Raises:
            LoadRefused: the file is too large, or cannot be read.
        """
        if len(self._data) > self._limits.megabytes * 1024 * 1024:
            raise LoadRefused("too_large")
        asked = {
            "kind": self._kind,
            "name": self._name,
            "seconds": self._limits.seconds,
            "options": asdict(self._options),
        }
        process = await start("threadkeeper.knowledge.loaders.worker", json.dumps(asked))
        assert process.stdin is not None
        assert process.stdout is not None
        feeding = asyncio.create_task(_feed(process.stdin, self._data))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._limits.seconds):
                        frame = await _frame(process.stdout)
                except TimeoutError:
                    raise LoadRefused(too_slow(self._name, len(self._data), self._limits.seconds)) from None
                if frame is None:
                    raise LoadRefused(await self._failure(process))
                if "document" not in frame:
                    await _ended(process)
                if "refused" in frame:
                    raise LoadRefused(frame["refused"])
                if "taken" in frame:
                    found = frame["taken"]
                    self.taken = Taken(**found | {"left_out": [tuple(part) for part in found["left_out"]]})
                    return
                found = frame["document"]
                yield LoadedDocument(**found | {"pages": tuple(found["pages"])})
        finally:
            feeding.cancel()
            await end(process)

    async def _failure(self, process: asyncio.subprocess.Process) -> Refusal:
        assert process.stderr is not None
        complaints = await process.stderr.read()
        await process.wait()
        failed = failure(process, complaints, name=self._name, size=len(self._data), seconds=self._limits.seconds)
        return failed or "broken"


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that has said its last word: a signal to one that just ended confuses asyncio's watcher."""
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        return


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    try:
        view = memoryview(data)
        # What is not written at once is copied.
        for start in range(0, len(data), _PIECE_BYTES):
            stream.write(view[start : start + _PIECE_BYTES])
            await stream.drain()
        stream.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # The process has ended, and its exit status says why.


async def _frame(stream: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next frame; None if the process ended without one."""
    try:
        (length,) = struct.unpack(">I", await stream.readexactly(4))
        if length > _MOST_BYTES:
            return None
        encoded = await stream.readexactly(length)
        is_large = length > _PIECE_BYTES
        found: dict[str, Any] = await asyncio.to_thread(json.loads, encoded) if is_large else json.loads(encoded)
    except asyncio.IncompleteReadError:
        return None
    return found
