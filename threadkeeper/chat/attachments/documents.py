"""Reads the text of PDF, Word, Excel and OpenDocument files, each in a process of its own with limits.

The libraries are pure Python or parse what strangers wrote. In a thread, a large document would slow every stream of
the server, and a malicious one could not be stopped.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
from pathlib import Path
from typing import Literal

from threadkeeper.chat.attachments.worker.reading import Reading

logger = logging.getLogger(__name__)

# -I: neither the working directory nor a variable names folders with modules; the package is found where this one is.
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from threadkeeper.chat.attachments.worker.main import main
main()
"""
_ROOT = Path(__file__).parents[3]
_AT_ONCE = 2
# The PDF standard lets other bytes come before its header.
_PDF = re.compile(rb"(?s).{0,1024}?%PDF-")

DocumentKind = Literal["pdf", "archive", "compound"]


def document_kind(data: bytes) -> DocumentKind | None:
    """What the bytes are: a PDF, a zip archive (as of Word), or an OLE compound (as of old Excel)."""
    if _PDF.match(data[:1100]):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "archive"
    return "compound" if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") else None


class DocumentReader:
    def __init__(self, *, max_pages: int, max_characters: int, seconds: float) -> None:
        self.seconds = seconds
        self._limits = (str(seconds), str(max_pages), str(max_characters))
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str, data: bytes, kind: DocumentKind) -> Reading:
        """The text of a document. Never raises for the content of the file. Waits while two others are being read."""
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), kind, *self._limits),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(self.seconds):
                    output, complaints = await process.communicate(data)
            except TimeoutError:
                logger.warning("the file %r (%d bytes) was not read within %s s", name, len(data), self.seconds)
                return Reading(refused="slow")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if sys.platform != "win32" and process.returncode == -signal.SIGXCPU:
            logger.warning("the file %r (%d bytes) was not read within %s s", name, len(data), self.seconds)
            return Reading(refused="slow")
        if process.returncode != 0:
            reason = " ".join(complaints.decode("utf-8", "replace").split())[-400:]
            logger.warning("the file %r (%d bytes) cannot be read: %s", name, len(data), reason or process.returncode)
            return Reading(refused="broken")
        return Reading(**json.loads(output))
