"""The job that prepares a user's takeout: a ZIP in the file store, which its owner can download for a day.

The outbox of files deletes the ZIP when its day is over, whatever becomes of the job, and at once with its user.
"""

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalayer import JobContext, JobFailed
from datalayer.takeout.export import TakeoutReport, export_user
from datalayer.takeout.format import readable

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

TAKEOUT = "takeout"
KEPT_SECONDS = 24 * 3600.0
TAKEOUTS_AT_ONCE = 2
"""Each needs as much disk space as all data of its user."""
_SHOWN_EVERY_SECONDS = 1.0


def register_takeouts(layer: "ChainlitLayer") -> None:
    async def take_out(context: JobContext) -> dict[str, Any]:
        if context.owner is None:
            raise JobFailed("a takeout is of one user: a user must start it")
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="takeout-"))
        try:
            report = await _exported(layer, context, context.owner, folder / "takeout.zip")
            name = f"{readable(context.owner, 'user')}-{datetime.now(UTC).date()}.zip"
            key = f"takeouts/{context.job_id}.zip"
            await context.keep_file(key, KEPT_SECONDS)
            stored = await layer.blobs.put(key, folder / "takeout.zip", "application/zip", name=name)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return {
            "name": name,
            "bytes": stored.size,
            "threads": report.counts["threads"],
            "missing": len(report.missing),
            "damaged": len(report.damaged),
        }

    layer.register_job(TAKEOUT, take_out, at_once=TAKEOUTS_AT_ONCE)


async def _exported(layer: "ChainlitLayer", context: JobContext, owner: str, path: Path) -> TakeoutReport:
    """Write the ZIP, and show how many threads are in it."""
    newest = TakeoutReport()

    def note(report: TakeoutReport) -> None:
        nonlocal newest
        newest = report

    export = asyncio.create_task(export_user(layer.database, layer.blobs, owner, path, progressed=note))
    try:
        while not (await asyncio.wait([export], timeout=_SHOWN_EVERY_SECONDS))[0]:
            await context.progress(newest.counts["threads"])
        report = await export
    except OSError as error:
        raise JobFailed(f"the ZIP could not be written: {error.strerror}") from error
    finally:
        export.cancel()
        await asyncio.wait([export])
    await context.progress(report.counts["threads"], report.counts["threads"])
    return report
