"""Reads the text of PDF, Word, Excel and OpenDocument files, each in a process of its own with limits."""

from __future__ import annotations

import asyncio
import json

from threadkeeper.documents.kinds import DocumentKind
from threadkeeper.documents.process import end, failure, start, too_slow
from threadkeeper.documents.worker.reading import Reading

_AT_ONCE = 2


class DocumentReader:
    def __init__(self, *, max_pages: int, max_characters: int, seconds: float) -> None:
        self.seconds = seconds
        self._limits = (str(seconds), str(max_pages), str(max_characters))
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str, data: bytes, kind: DocumentKind) -> Reading:
        """The text of a document. Never raises for the content of the file. Waits while two others are being read."""
        async with self._turns:
            process = await start("threadkeeper.documents.worker.main", kind, *self._limits)
            try:
                async with asyncio.timeout(self.seconds):
                    output, complaints = await process.communicate(data)
            except TimeoutError:
                return Reading(refused=too_slow(name, len(data), self.seconds))
            finally:
                await end(process)
        failed = failure(process, complaints, name=name, size=len(data), seconds=self.seconds)
        return Reading(refused=failed) if failed else Reading(**json.loads(output))
