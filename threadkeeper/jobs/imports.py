"""The job that imports the uploaded export of another chat for its user, or first looks what is in it.

The upload is a file in the store, which the outbox of files deletes after a day, or sooner: when it is imported, is
nothing that can be imported, or when its user uploads another one. The job reads a copy of it on disk, so that the file
can be read in any order. A job that was interrupted begins again, and passes over what is stored.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from datalayer import BlobNotFound, JobContext, JobFailed
from datalayer.takeout.format import readable
from threadkeeper.importing.importer import Report, run_import
from threadkeeper.importing.package import BadPackage
from threadkeeper.importing.report import expired_before

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

IMPORT = "import"
KEPT_SECONDS = 24 * 3600.0
"""For how long an upload is kept."""
_LEFT_SECONDS = 3600.0
"""For how long it is kept after it was imported."""
IMPORTS_AT_ONCE = 1
"""Each reads with the CPU of one core."""
_PREFIX = "import-"
REASON = "reason"
"""The key in the result of a job that failed, of the reason as data."""
GONE = "gone"
"""The error of a job whose upload was deleted."""


def register_imports(layer: "ChainlitLayer", copies: Path, retention_days: int | None = None) -> None:
    """Register the kind.

    Args:
        layer: whose threads these become.
        copies: the folder for the copies of uploads, as large as they are. It is made if it is missing.
        retention_days: after which threads are deleted, so that the page can say so.
    """

    async def bring(context: JobContext) -> dict[str, Any]:
        account = await layer.get_account(context.owner) if context.owner is not None else None
        if account is None:
            raise JobFailed("an import is for one user: a user must start it")
        total = context.arguments.get("total")

        async def note(report: Report) -> None:
            await context.progress(report.conversations + report.failed, total)

        key = str(context.arguments["key"])
        await asyncio.to_thread(_make_room, copies)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=copies) as folder:
            # The reasons name the file.
            path = Path(folder) / readable(str(context.arguments.get("name") or ""), "export")
            try:
                blob = await layer.blobs.open(key)
            except BlobNotFound:
                raise JobFailed(GONE) from None
            async with blob:
                await _copy(blob.__aiter__(), path)
            try:
                report = await run_import(
                    layer,
                    [path],
                    account.user,
                    dry_run=bool(context.arguments["dry_run"]),
                    by_day=bool(context.arguments["by_day"]),
                    expired_before=expired_before(retention_days),
                    progressed=note,
                )
            except BadPackage as error:
                # Nobody can use it.
                await layer.file_deleter.delete([key], None)
                raise JobFailed(str(error), {REASON: error.reason.as_json()}) from error
        await context.progress(report.conversations + report.failed, report.conversations + report.failed)
        if not context.arguments["dry_run"]:
            # Not at once: if this process dies before the end is stored, the job begins again.
            await context.keep_file(key, _LEFT_SECONDS)
        return report.as_json()

    layer.register_job(IMPORT, bring, at_once=IMPORTS_AT_ONCE)


def _make_room(copies: Path) -> None:
    """Make the folder, and delete what processes that were killed have left in it."""
    copies.mkdir(parents=True, exist_ok=True)
    for left in copies.glob(f"{_PREFIX}*"):
        try:
            # Another process may have made it, and read it still.
            if left.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            # Its own process has deleted it.
            continue


async def _copy(chunks: AsyncIterator[bytes], path: Path) -> None:
    file: BinaryIO = await asyncio.to_thread(path.open, "wb")
    with file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
