"""`threadkeeper export` and `import`: all that one user has, as one file."""

import asyncio
import shlex
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import DownloadColumn, TextColumn

from datalayer.cleaning import clean_text
from datalayer.database import Database
from datalayer.migrations import migrate
from datalayer.review.audit import note_takeout
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.export import TakeoutReport, export_user
from datalayer.takeout.format import readable
from datalayer.takeout.import_ import ImportReport, import_user
from threadkeeper.commands.terminal import console, end, make_data_dir, open_store, progress, run, settings_or_end

export_app = typer.Typer(no_args_is_help=True, help="Write what is kept into files that can be taken elsewhere.")


@export_app.command("user")
def export_takeout(
    name: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="A new file; without it, NAME-DATE.zip here.", show_default=False)
    ] = None,
) -> None:
    """Write all that someone has into one zip: threads, steps, files, votes and their history. No password."""
    settings = settings_or_end()
    path = to or Path(f"{readable(name, 'user')}-{datetime.now(UTC).date()}.zip")
    shown = console()

    async def work() -> TakeoutReport:
        async with AsyncExitStack() as closing:
            database = Database(settings.resolved_database_url)
            closing.push_async_callback(database.close)
            store = open_store(settings)
            closing.push_async_callback(store.close)
            bar = closing.enter_context(progress(TextColumn("{task.description}"), DownloadColumn(), console=shown))
            task = bar.add_task("files", total=None)
            # Their user sees at `/me` that all of it was given out.
            async with database.write() as connection:
                await note_takeout(connection, clean_text(name))
            return await export_user(
                database,
                store,
                name,
                path,
                progressed=lambda report: bar.update(
                    task, completed=report.file_bytes, description=f"{report.counts['threads']} threads"
                ),
            )

    try:
        report = run(work())
    except OSError as error:
        end(f"{path} cannot be written: {error.strerror}.", 1)
    shown.print(f"Wrote {path}: {_counted(report.counts)}.", markup=False, highlight=False, soft_wrap=True)
    wrong = []
    if report.missing:
        wrong.append(
            f"{len(report.missing)} files are missing from the store, and from the takeout; its manifest names them."
        )
    if report.damaged:
        wrong.append(
            f"{len(report.damaged)} files are damaged in the store, and in the takeout: their content is not their "
            "row's; its manifest names them."
        )
    if wrong:
        end("\n".join(wrong), 1)


def import_takeout(
    file: Annotated[Path, typer.Argument(help="A zip that `threadkeeper export user` wrote.", show_default=False)],
    as_user: Annotated[
        str | None,
        typer.Option("--as", help="Whose it becomes; without it, of the user of the same name.", show_default=False),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave threads alone that are here already.")
    ] = False,
) -> None:
    """Bring a takeout back, here or on another installation; the schema is made, or brought up, first."""
    settings = settings_or_end()
    shown = console()

    async def work() -> ImportReport:
        # Before anything is made for it: a mistyped name makes no database.
        (await asyncio.to_thread(TakeoutArchive, file)).close()
        make_data_dir(settings)
        async with AsyncExitStack() as closing:
            database = Database(settings.resolved_database_url)
            closing.push_async_callback(database.close)
            await migrate(database)
            store = open_store(settings)
            closing.push_async_callback(store.close)
            bar = closing.enter_context(progress(TextColumn("{task.description}"), DownloadColumn(), console=shown))
            task = bar.add_task("checked", total=None)
            return await import_user(
                database,
                store,
                file,
                as_user=as_user,
                skip_existing=skip_existing,
                progressed=lambda report: bar.update(
                    task, completed=report.checked_bytes, description=f"{report.counts['threads']} threads"
                ),
            )

    try:
        report = run(work())
    except OSError as error:
        end(f"{file} cannot be read: {error.strerror}.", 1)
    shown.print(f"For {report.user}: {_counted(report.counts)}.", markup=False, highlight=False, soft_wrap=True)
    if report.skipped_threads:
        shown.print(f"{report.skipped_threads} threads are here already and were left alone.")
    if report.left_out_votes:
        shown.print(f"{report.left_out_votes} votes of people, or in threads, that are not here were left out.")
    if report.left_out_calls:
        shown.print(f"{report.left_out_calls} calls to models are here already and were left alone.")
    if report.missing_files:
        shown.print(f"{report.missing_files} files were missing when the takeout was made.")
    for key, entry in report.damaged.items():
        shown.print(f"{key}: content is not its row's ({entry})", markup=False, highlight=False, soft_wrap=True)
    if report.damaged:
        shown.print(
            f"{len(report.damaged)} files were damaged when the takeout was made. They are kept as they are, and "
            "`threadkeeper files verify` names them until their right content is back.",
            highlight=False,
            soft_wrap=True,
        )
    if report.made_user:
        shown.print(
            f"The user {report.user} was made, with the role user and without a password: "
            f"`threadkeeper user passwd {shlex.quote(report.user)}` gives one.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing"
