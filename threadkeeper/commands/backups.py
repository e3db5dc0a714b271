"""`threadkeeper backup` and `restore`: the database and its files in a folder, and back into an empty place."""

import shlex
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.text import Text

from datalayer.backup.backup import Backup, BackupReport
from datalayer.backup.manifest import POSTGRES_DUMP
from datalayer.backup.restore import Restoration, RestoreReport
from datalayer.database import Database, dialect_of
from datalayer.errors import DataLayerError
from datalayer.installation.installation import Installation
from threadkeeper.commands.terminal import console, end, make_data_dir, open_store, progress, run, settings_or_end
from threadkeeper.language.numbers import counted
from threadkeeper.settings.urls import sqlite_file


def backup(
    path: Annotated[Path, typer.Argument(help="The folder of the backup: new, empty, or of an interrupted backup.")],
) -> None:
    """Copy the database and its files into a folder while the server runs. Run it again to continue."""
    settings, shown, folder = settings_or_end(), console(), path.absolute()
    url = settings.resolved_database_url
    if (file := sqlite_file(url)) and not file.exists():
        end(f"There is nothing to back up: {file} does not exist.", 1)

    async def work() -> BackupReport:
        async with AsyncExitStack() as closing:
            store = open_store(settings)
            closing.push_async_callback(store.close)
            bar = closing.enter_context(progress(TextColumn("{task.completed} files"), BarColumn(), console=shown))
            files = bar.add_task("files", total=None)
            report = await Backup(
                url,
                store,
                folder,
                found=lambda key, words: shown.print(Text(f"{key}: {words}"), soft_wrap=True),
                progressed=lambda report: bar.update(files, completed=report.copied),
            ).run()
            if report.is_finished:
                await note_backup(url, folder, report)
            return report

    report = run(work())
    shown.print(f"Copied {counted(report.copied, 'file')} ({counted(report.copied_bytes, 'byte')}).", highlight=False)
    if report.failed:
        failed = counted(report.failed, "file")
        end(f"{failed} could not be copied, so the backup is not finished. Run the command again.", 1)
    if not report.is_finished:
        dump, _ = dialect_of(url).dump_commands(url, folder / POSTGRES_DUMP)
        shown.print("The backup needs a dump of the database. Run this; PGPASSWORD or ~/.pgpass has the password:")
        typer.echo(f"{dump} && threadkeeper backup {shlex.quote(str(folder))}")
        return
    files = f"{counted(report.files, 'file')} ({counted(report.bytes, 'byte')})"
    shown.print(
        f"Finished: the database and {files} are in {folder}.",
        highlight=False,
        soft_wrap=True,
    )
    if report.known_missing:
        left_out = counted(report.known_missing, "file is", "files are")
        shown.print(f"{left_out} not in it: `files verify --repair` has marked what is missing.", highlight=False)
    if problems := report.missing + report.damaged:
        wrong = counted(problems, "file is", "files are")
        end(f"{wrong} missing or damaged in the store; everything else is in the backup.", 1)


async def note_backup(url: str, folder: Path, report: BackupReport) -> None:
    """Store in the database that the backup is finished, for the page of the administration."""
    layer = Installation(Database(url), None, patience_seconds=0)
    try:
        await layer.note_backup(str(folder), files=report.files, size=report.bytes, by="threadkeeper backup")
    except DataLayerError as error:
        typer.echo(
            f"The backup is finished, but /admin will not show it, because it could not be noted: {error}.", err=True
        )
    finally:
        await layer.close()


def restore(path: Annotated[Path, typer.Argument(help="The folder of a finished backup.")]) -> None:
    """Restore a backup into an empty database and an empty file store. Run it again to continue."""
    settings, shown, folder = settings_or_end(), console(), path.absolute()
    url = settings.resolved_database_url
    make_data_dir(settings)

    async def work() -> RestoreReport:
        async with AsyncExitStack() as closing:
            store = open_store(settings)
            closing.push_async_callback(store.close)
            bar = closing.enter_context(progress(BarColumn(), DownloadColumn(), console=shown))
            files = bar.add_task("files", total=None)
            return await Restoration(
                folder,
                url,
                store,
                sqlite_file(url),
                failed=lambda key, words: shown.print(Text(f"{key}: {words}"), soft_wrap=True),
                progressed=lambda report: bar.update(files, completed=report.restored_bytes),
            ).run()

    report = run(work())
    if report.failed:
        end(
            f"{counted(report.failed, 'file')} could not be restored, so the database was not restored either."
            if sqlite_file(url)
            else f"{counted(report.failed, 'file')} could not be restored.",
            1,
        )
    if not report.is_finished:
        _, restored = dialect_of(url).dump_commands(url, folder / POSTGRES_DUMP)
        typer.echo(f"{restored} && threadkeeper restore {shlex.quote(str(folder))}")
        end("Nothing was restored: the database is empty. Run the command above; it restores the database first.", 1)
    shown.print(
        f"Restored the database and {counted(report.restored, 'file')} ({counted(report.restored_bytes, 'byte')}); "
        f"{counted(report.there, 'file was', 'files were')} already there.",
        highlight=False,
    )
    if report.marked:
        marked = counted(report.marked, "file was", "files were")
        shown.print(f"{marked} deleted while the backup was made, and marked as missing.", highlight=False)
    shown.print("Now run `threadkeeper migrate`, `threadkeeper verify` and `threadkeeper files verify`.")
    if report.sources_without_file:
        lacking = counted(
            report.sources_without_file, "data source of an assistant lacks", "data sources of assistants lack"
        )
        end(
            f"{lacking} a file, which is not in the backup: upload it again or delete the source.",
            1,
        )
