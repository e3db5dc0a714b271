"""The job that makes a backup of a SQLite database and its files, as `threadkeeper backup` does.

On Postgres, `pg_dump` makes the copy of the database, which needs a shell: there is no such job.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalayer import BlobError, JobContext, JobFailed
from datalayer.backup.backup import Backup, BackupReport
from datalayer.errors import BackupError

if TYPE_CHECKING:
    # The pages use the name of the kind, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

BACKUP = "backup"


def register_backups(layer: "ChainlitLayer", url: str, folder: Path) -> None:
    """Register the kind.

    Args:
        layer: whose database and files are copied.
        url: of the database.
        folder: each backup gets a new folder in it.
    """

    async def back_up(context: JobContext) -> dict[str, Any]:
        newest = BackupReport()

        def note(report: BackupReport) -> None:
            nonlocal newest
            newest = report

        # Of the job's id, so that a job that was interrupted continues its backup.
        place = folder / f"backup-{context.job_id}"
        try:
            report = await Backup(url, layer.blobs, place, progressed=note).run()
        except (BackupError, BlobError) as error:
            raise JobFailed(f"the backup in {place} stopped after {newest.copied} files: {error}") from error
        if not report.is_finished:
            raise JobFailed(f"{report.failed} files could not be copied, so the backup in {place} is not finished")
        await context.progress(report.files, report.files)
        by = str(context.arguments.get("by", ""))
        await layer.note_backup(str(place), files=report.files, size=report.bytes, by=by)
        return {
            "folder": str(place),
            "files": report.files,
            "bytes": report.bytes,
            "missing": report.missing,
            "damaged": report.damaged,
        }

    layer.register_job(BACKUP, back_up)
