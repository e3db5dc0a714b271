"""Cuts the pages of passages out of a PDF, each as a PDF of its own, in a process with limits."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from threadkeeper.documents.process import end, failure, start, too_slow

logger = logging.getLogger(__name__)

_AT_ONCE = 2
_turns = asyncio.Semaphore(_AT_ONCE)
_ENDING_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class PlaceInPdf:
    """Where a passage is: the page on which it begins, from 1, and its text."""

    page: int
    text: str


async def cut_pages(
    name: str, read: Callable[[], Awaitable[bytes | None]], places: Sequence[PlaceInPdf], *, seconds: float
) -> list[bytes | None]:
    """A PDF for each place: the page on which the passage begins, with the next ones if it goes on there.

    Never raises for the content of the file: what cannot be cut is None, and logged.

    Args:
        name: of the file, for the log.
        read: gives the PDF, or None if there is none. Two are in memory at the same time at most.
        places: of the passages.
        seconds: to wait, and of CPU time.
    """
    wanted = json.dumps([[one.page, one.text.rstrip()[-_ENDING_CHARACTERS:]] for one in places])
    async with _turns:
        if (data := await read()) is None:
            return [None] * len(places)
        try:
            process = await start("threadkeeper.documents.worker.pages", str(seconds), wanted)
        except OSError as error:
            logger.error("no pages of %r are cut: no process can be started: %s", name, error)
            return [None] * len(places)
        try:
            async with asyncio.timeout(seconds):
                output, complaints = await process.communicate(data)
        except TimeoutError:
            too_slow(name, len(data), seconds)
            return [None] * len(places)
        finally:
            await end(process)
    failure(process, complaints, name=name, size=len(data), seconds=seconds)
    found, at = list[bytes | None](), 0
    for _ in places:
        # The pages before a failure are whole.
        (length,) = struct.unpack_from(">I", output, at) if len(output) >= at + 4 else (0,)
        page = output[at + 4 : at + 4 + length]
        at += 4 + length
        found.append(page if length and len(page) == length else None)
    return found
