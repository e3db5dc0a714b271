"""Starts the programs that read documents, each in a process of its own with limits.

The libraries are pure Python or parse what strangers wrote. In a thread, a large document would slow every stream of
the server, and a malicious one could not be stopped.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from threadkeeper.documents.worker.reading import Refusal
from threadkeeper.programs import command

logger = logging.getLogger(__name__)


async def start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """Run `main` of a module with these arguments. It reads the document from its standard input."""
    return await asyncio.create_subprocess_exec(
        *command(module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill the process if it still runs, and close its pipes."""
    if process.returncode is None:
        process.kill()
    # A pipe is closed when it was read to its end, and asyncio stops to read one whose reader is slow.
    await process.communicate()


def failure(
    process: asyncio.subprocess.Process, complaints: bytes, *, name: str, size: int, seconds: float
) -> Refusal | None:
    """Why a process that has ended did not read the document, which is logged; None if it did.

    Args:
        complaints: its standard error.
        name: of the document.
        size: bytes of the document.
        seconds: the CPU time that the process had at most.
    """
    if sys.platform != "win32" and process.returncode == -signal.SIGXCPU:
        return too_slow(name, size, seconds)
    if process.returncode == 0:
        return None
    reason = " ".join(complaints.decode("utf-8", "replace").split())[-400:]
    logger.warning("the file %r (%d bytes) cannot be read: %s", name, size, reason or process.returncode)
    return "broken"


def too_slow(name: str, size: int, seconds: float) -> Refusal:
    logger.warning("the file %r (%d bytes) was not read within %s s", name, size, seconds)
    return "slow"
