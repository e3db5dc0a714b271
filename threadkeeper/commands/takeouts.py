"""`threadkeeper export` and `import`: all data of one user as one file."""

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
from datalayer.prompts.prompts import MOST_PROMPTS
from datalayer.review.audit import note_takeout
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.export import TakeoutReport, export_user
from datalayer.takeout.format import readable
from datalayer.takeout.import_ import ImportReport, import_user
from threadkeeper.commands.terminal import console, end, make_data_dir, open_store, progress, run, settings_or_end
from threadkeeper.language.numbers import counted

export_app = typer.Typer(no_args_is_help=True, help="Export the data of a user.")


@export_app.command("user")
def export_takeout(
    name: Annotated[str, typer.Argument(help="Login name of the user.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="A new file. Default: NAME-DATE.zip in the current folder.", show_default=False)
    ] = None,
) -> None:
    """Export all data of a user to a ZIP: threads, steps, files, votes and their history. Without the password."""
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
            # The audit entry, so that the user sees the export at `/me`.
            async with database.write() as connection:
                await note_takeout(connection, clean_text(name))
            return await export_user(
                database,
                store,
                name,
                path,
                progressed=lambda report: bar.update(
                    task, completed=report.file_bytes, description=counted(report.counts["threads"], "thread")
                ),
            )

    try:
        report = run(work())
    except OSError as error:
        end(f"Cannot write {path}: {error.strerror}.", 1)
    shown.print(f"Wrote {path}: {_kinds(report.counts)}.", markup=False, highlight=False, soft_wrap=True)
    wrong = []
    if report.missing:
        wrong.append(
            f"{counted(len(report.missing), 'file is', 'files are')} missing from the store and so from the takeout. "
            "The manifest names what is missing."
        )
    if report.damaged:
        wrong.append(
            f"{counted(len(report.damaged), 'file is', 'files are')} damaged in the store and so in the takeout: the "
            "checksum differs from the database. The manifest names what is damaged."
        )
    if wrong:
        end("\n".join(wrong), 1)


def import_takeout(file: Path, as_user: str | None, *, skip_existing: bool, dry_run: bool) -> None:
    """Import a takeout, also from another installation. Creates or upgrades the schema first."""
    if dry_run:
        _show_contents(file)
        return
    settings = settings_or_end()
    shown = console()

    async def work() -> ImportReport:
        # Checked first, so that a mistyped file name creates no database.
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
                    task, completed=report.checked_bytes, description=counted(report.counts["threads"], "thread")
                ),
            )

    try:
        report = run(work())
    except OSError as error:
        end(f"Cannot read {file}: {error.strerror}.", 1)
    kinds = _kinds(report.counts)
    shown.print(f"Imported for {report.user}: {kinds}.", markup=False, highlight=False, soft_wrap=True)
    if report.user != report.asked_user:
        text = f"{report.asked_user} and {report.user} are the same user: names are compared without case."
        shown.print(text, markup=False, highlight=False, soft_wrap=True)
    if report.skipped_threads:
        there = counted(report.skipped_threads, "thread that already exists", "threads that already exist")
        shown.print(f"Skipped {there}.")
    if report.left_out_votes:
        shown.print(f"Skipped {counted(report.left_out_votes, 'vote')} whose user or thread does not exist here.")
    if report.left_out_calls:
        there = counted(report.left_out_calls, "model call that already exists", "model calls that already exist")
        shown.print(f"Skipped {there}.")
    if report.left_out_assistants:
        there = counted(report.left_out_assistants, "assistant that already exists", "assistants that already exist")
        shown.print(f"Skipped {there}, or whose slug is in use.")
    if report.left_out_prompts:
        shown.print(
            f"Skipped {counted(report.left_out_prompts, 'prompt')}: of an id or a name that is in use, or beyond the "
            f"{MOST_PROMPTS} of a user.",
            soft_wrap=True,
        )
    if report.missing_files:
        shown.print(f"{counted(report.missing_files, 'file was', 'files were')} missing when the takeout was created.")
    for key, entry in report.damaged.items():
        text = f"{key}: checksum differs from the database ({entry})"
        shown.print(text, markup=False, highlight=False, soft_wrap=True)
    if report.damaged:
        shown.print(
            f"{counted(len(report.damaged), 'file was', 'files were')} damaged when the takeout was created, and "
            "imported as found. `threadkeeper files verify` reports this until the correct content is restored.",
            highlight=False,
            soft_wrap=True,
        )
    if report.made_user:
        shown.print(
            f"Created the user {report.user} with the role user and without a password. "
            f"To set one, run `threadkeeper user passwd {shlex.quote(report.user)}`.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _show_contents(file: Path) -> None:
    """Print what the takeout has, by its manifest."""

    async def read() -> tuple[str, dict[str, int]]:
        archive = await asyncio.to_thread(TakeoutArchive, file)
        archive.close()
        found = archive.manifest
        return str(found["user"]["identifier"]), {str(name): int(count) for name, count in found["counts"].items()}

    try:
        name, counts = run(read())
    except OSError as error:
        end(f"Cannot read {file}: {error.strerror}.", 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        end(f"The manifest of {file} is damaged.", 1)
    text = f"A takeout of {name}: {_kinds(counts)}."
    console().print(text, markup=False, highlight=False, soft_wrap=True)


def _kinds(counts: dict[str, int]) -> str:
    # The names of the tables are plurals.
    nouns = ((count, name.replace("_", " ")) for name, count in counts.items() if count)
    return ", ".join(counted(count, noun.removesuffix("s"), noun) for count, noun in nouns) or "nothing"
