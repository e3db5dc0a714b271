"""Reads the text of a PDF in a process of its own, with a time limit and a memory limit.

pypdf is pure Python. In a thread, a large PDF would slow every stream of the server, and a malicious one could not be
stopped.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

_WORKER = Path(__file__).with_name("pdf_worker.py")
_AT_ONCE = 2

Refusal = Literal["encrypted", "without_text", "broken", "slow"]


@dataclass(frozen=True)
class PdfText:
    """The text within the limits. The first `pages_read` of `pages` pages had `characters` characters.

    If `refused` is set there is no text.
    """

    text: str = ""
    characters: int = 0
    pages_read: int = 0
    pages: int = 0
    refused: Refusal | None = None


class PdfReader:
    def __init__(self, *, max_pages: int, max_characters: int, seconds: float) -> None:
        self.seconds = seconds
        self._limits = (str(max_pages), str(max_characters))
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str, data: bytes) -> PdfText:
        """The text of a PDF. Never raises for the content of the file. Waits while two others are being read."""
        async with self._turns:
            # -I: neither the working directory nor this one is searched for modules.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_WORKER), *self._limits),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(self.seconds):
                    output, complaints = await process.communicate(data)
            except TimeoutError:
                logger.warning("the PDF %r (%d bytes) was not read within %s s", name, len(data), self.seconds)
                return PdfText(refused="slow")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            reason = " ".join(complaints.decode("utf-8", "replace").split())[-400:]
            logger.warning("the PDF %r (%d bytes) cannot be read: %s", name, len(data), reason)
            return PdfText(refused="broken")
        return PdfText(**json.loads(output))
