"""`threadkeeper files`: checks the files of any store and moves them to another store."""

from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.text import Text

from datalayer.database import Database
from datalayer.files.move import AT_ONCE, FileMove, MoveReport
from datalayer.files.verify import FileCheck, FileProblem, FileReport
from threadkeeper.commands.terminal import console, end, open_store, progress, run, settings_or_end
from threadkeeper.language.numbers import counted

files_app = typer.Typer(no_args_is_help=True, help="Check the stored files, or move them to another store.")

_WORDS = {
    "missing": "file is missing",
    "size": "size differs from the database",
    "checksum": "checksum differs from the database",
    "unreadable": "file cannot be read",
    "orphan": "file has no row",
    "unfinished": "incomplete upload",
}


@files_app.command("verify")
def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Delete files without a row and incomplete uploads, mark rows with a missing file, "
            "and store missing checksums.",
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only, without reading the files.")] = False,
) -> None:
    """Compare every file with its row, and every row with its file. Exit code 1 if a problem is found."""
    settings = settings_or_end()
    shown = console()

    def show_problem(problem: FileProblem) -> None:
        where = f" (thread {problem.thread_id}, element {problem.element_id})" if problem.element_id else ""
        where = where or (f" (source {problem.source})" if problem.source else "")
        more = f": {problem.words}" if problem.words else ""
        done = "; deleted" if problem.repaired else "; its row is marked" if problem.marked else ""
        shown.print(Text(f"{problem.key}: {_WORDS[problem.kind]}{more}{where}{done}"), soft_wrap=True)

    async def look() -> FileReport:
        async with AsyncExitStack() as closing:
            database = Database(settings.resolved_database_url)
            closing.push_async_callback(database.close)
            store = open_store(settings)
            closing.push_async_callback(store.close)
            bar = closing.enter_context(progress(TextColumn("{task.completed} files"), DownloadColumn(), console=shown))
            files = bar.add_task("files", total=None)
            return await FileCheck(
                database,
                store,
                repair=repair,
                quick=quick,
                found=show_problem,
                progressed=lambda report: bar.update(files, completed=report.rows),
            ).run()

    report = run(look())
    rows, blobs = counted(report.rows, "row"), counted(report.blobs, "file")
    shown.print(f"{rows} with a file, {blobs} in the store, {counted(report.read_bytes, 'byte')} read.")
    if report.marked:
        marked = counted(report.marked, "row")
        shown.print(f"Marked {marked} with a missing file. The next run only counts marked rows.")
    for kind, count in sorted(report.repaired.items()):
        if count:
            shown.print(f"{count} × {_WORDS[kind]}: deleted.", highlight=False)
    if report.known_missing:
        known = counted(report.known_missing, "row was", "rows were")
        shown.print(f"{known} marked by an earlier run: the file is missing.")
    if report.found_again:
        removed = "; the marks were removed" if repair else ""
        again = counted(report.found_again, "file of a marked row exists", "files of marked rows exist")
        shown.print(f"{again} again{removed}.")
    if report.checksums_added:
        shown.print(f"Computed and stored {counted(report.checksums_added, 'missing checksum')}.")
    elif report.without_checksum:
        without = counted(report.without_checksum, "row has", "rows have")
        shown.print(f"{without} no checksum. Run with --repair to compute what is missing.")
    if report.uploads_unknown:
        shown.print(Text(f"Incomplete uploads were not checked: {report.uploads_unknown}."), soft_wrap=True)
    if report.left:
        problems = (f"{count} × {_WORDS[kind]}" for kind, count in sorted((report.problems - report.repaired).items()))
        end(f"{', '.join(problems)}.", 1)
    shown.print("No problems found.")


@files_app.command("move")
def move(
    to: Annotated[str, typer.Option("--to", help="The target store, in the form of BLOB_URL.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the files to copy.")] = False,
    delete_source: Annotated[
        bool,
        typer.Option(
            "--delete-source", help="Delete the files from BLOB_URL after all of them have been verified at --to."
        ),
    ] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Maximum number of concurrent copies.")] = AT_ONCE,
) -> None:
    """Copy every file to another store. Run it again to continue after an interruption."""
    settings = settings_or_end()
    here, there = (url.rstrip("/") for url in (settings.resolved_blob_url, to))
    if f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/"):
        end("--to: the two stores are the same, or one is inside the other.", 2)
    shown = console()

    async def work() -> MoveReport:
        async with AsyncExitStack() as closing:
            database = Database(settings.resolved_database_url)
            closing.push_async_callback(database.close)
            source, target = open_store(settings), open_store(settings, to)
            closing.push_async_callback(source.close)
            closing.push_async_callback(target.close)
            if not dry_run:
                await target.ping()
            total = sum([blob.size async for blob in source.list()])
            bar = closing.enter_context(progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=shown))
            files = bar.add_task("files", total=total)
            move = FileMove(
                database,
                source,
                target,
                at_once=at_once,
                failed=lambda key, words: shown.print(Text(f"{key}: {words}"), soft_wrap=True),
                progressed=lambda report: bar.update(files, completed=report.seen_bytes),
            )
            return await (move.plan() if dry_run else move.run(delete_source=delete_source))

    report = run(work())
    if dry_run:
        shown.print(
            f"{counted(report.copied, 'file')} ({counted(report.copied_bytes, 'byte')}) would be copied, "
            f"{counted(report.there, 'is', 'are')} already there."
        )
        return
    copied, size = counted(report.copied, "file"), counted(report.copied_bytes, "byte")
    shown.print(f"Copied {copied} ({size}); {counted(report.there, 'was', 'were')} already there.")
    if report.failed:
        failed = counted(report.failed, "file")
        end(f"{failed} could not be copied or verified. Nothing was deleted. Run the command again.", 1)
    if delete_source:
        deleted, kept = counted(report.deleted, "file"), counted(report.left, "newer file")
        shown.print(f"Deleted {deleted} from the old store; kept {kept}.")
    if delete_source and not report.left:
        last = (
            f"The old store is empty, so a replica that still uses it shows no files. Set BLOB_URL={to} on every "
            "replica that does not have it yet, and restart it."
        )
    elif delete_source:
        last = (
            f"The newer files were uploaded during the move by a replica on the old store. Set BLOB_URL={to} on every "
            "replica, restart them, and run the same command again with the old BLOB_URL."
        )
    else:
        last = (
            f"Now set BLOB_URL={to} and restart every replica. Then run the same command again with the old BLOB_URL "
            "to copy files that were uploaded in the meantime."
        )
    shown.print(Text(last), soft_wrap=True)
