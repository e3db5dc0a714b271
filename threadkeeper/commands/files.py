"""`threadkeeper files`: the care of the files, wherever they are."""

from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.text import Text

from datalayer.database import Database
from datalayer.files.move import AT_ONCE, FileMove, MoveReport
from datalayer.files.verify import FileCheck, FileProblem, FileReport
from threadkeeper.commands.terminal import console, end, open_store, progress, run, settings_or_end

files_app = typer.Typer(no_args_is_help=True, help="Look after the files: compare them with their rows, move them.")

_WORDS = {
    "missing": "file is missing",
    "size": "size is not its row's",
    "checksum": "content is not its row's",
    "unreadable": "file cannot be read",
    "orphan": "file has no row",
    "unfinished": "left by an upload that broke off",
}


@files_app.command("verify")
def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Delete files without a row and what broken uploads left, mark rows whose file is missing, "
            "and keep missing checksums.",
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only; read no file.")] = False,
) -> None:
    """Compare every file with its row, and every row with its file; exit code 1 where something is wrong."""
    settings = settings_or_end()
    shown = console()

    def tell(problem: FileProblem) -> None:
        where = f" (thread {problem.thread_id}, element {problem.element_id})" if problem.element_id else ""
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
                found=tell,
                progressed=lambda report: bar.update(files, completed=report.rows),
            ).run()

    report = run(look())
    shown.print(f"{report.rows} rows with a file, {report.blobs} files in the store, {report.read_bytes} bytes read.")
    if report.marked:
        shown.print(f"{report.marked} rows were marked now: their file is missing. The next run only counts them.")
    for kind, count in sorted(report.repaired.items()):
        if count:
            shown.print(f"{count} × {_WORDS[kind]}: deleted.", highlight=False)
    if report.known_missing:
        shown.print(f"{report.known_missing} rows are marked: their file was missing before.")
    if report.found_again:
        shown.print(f"{report.found_again} files of marked rows are back{'; the marks are gone' if repair else ''}.")
    if report.checksums_added:
        shown.print(f"{report.checksums_added} checksums were computed and kept.")
    elif report.without_checksum:
        shown.print(f"{report.without_checksum} files have no checksum in their row; --repair computes them.")
    if report.uploads_unknown:
        shown.print(Text(f"Uploads that broke off could not be looked for: {report.uploads_unknown}."), soft_wrap=True)
    if report.left:
        problems = (f"{count} × {_WORDS[kind]}" for kind, count in sorted((report.problems - report.repaired).items()))
        end(f"{', '.join(problems)}.", 1)
    shown.print("Everything is as it should be.")


@files_app.command("move")
def move(
    to: Annotated[str, typer.Option("--to", help="The other store, as a BLOB_URL.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")] = False,
    delete_source: Annotated[
        bool,
        typer.Option("--delete-source", help="Delete the files from BLOB_URL once all of them are verified at --to."),
    ] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="How many files are on their way at once.")] = AT_ONCE,
) -> None:
    """Copy every file to another store; begun once more, it goes on where it was."""
    settings = settings_or_end()
    here, there = (url.rstrip("/") for url in (settings.resolved_blob_url, to))
    if f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/"):
        end("--to: the two stores are one, or one lies inside the other.", 2)
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
        shown.print(f"{report.copied} files of {report.copied_bytes} bytes would be copied, {report.there} are there.")
        return
    shown.print(f"{report.copied} files of {report.copied_bytes} bytes were copied, {report.there} were there already.")
    if report.failed:
        end(f"{report.failed} files are not there as they should be. Nothing was deleted; begin once more.", 1)
    if delete_source:
        shown.print(f"{report.deleted} files were deleted from the old store; {report.left} that are newer were left.")
    if delete_source and not report.left:
        last = (
            f"The old store has no file any more: a replica on it shows none. Where BLOB_URL={to} is not set yet, "
            "set it now and restart."
        )
    elif delete_source:
        last = (
            f"What was left came during the move, from a replica on the old store. Set BLOB_URL={to} for every one, "
            "restart them, and run the same command with the old BLOB_URL once more."
        )
    else:
        last = (
            f"Now set BLOB_URL={to} and restart every replica. What was uploaded meanwhile is copied by the same "
            "command with the old BLOB_URL, run once more."
        )
    shown.print(Text(last), soft_wrap=True)
