"""`threadkeeper import`: a takeout of ours, or the export of another chat."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn

from datalayer import User, acting_as
from datalayer.accounts.accounts import Accounts
from datalayer.accounts.shared_threads import SharedThreads
from datalayer.imports.imports import Imports
from datalayer.takeout.archive import is_takeout
from threadkeeper.commands.takeouts import import_takeout
from threadkeeper.commands.terminal import console, create_if_new, end, progress, settings_or_end, with_layer
from threadkeeper.importing.detection import reader_of
from threadkeeper.importing.importer import Report, run_import
from threadkeeper.importing.package import BadPackage, Package
from threadkeeper.importing.report import expired_before, lines_of
from threadkeeper.language.numbers import counted

# A server, or the search index of this very process, may write at the same time.
_PATIENCE_SECONDS = 60.0


class _Store(Accounts, SharedThreads, Imports):
    pass


def import_history(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="A takeout, or the export of another chat; several files of one export.", show_default=False
        ),
    ],
    user: Annotated[
        str | None,
        typer.Option(
            "--user", "--as", help="User to import for. Default: the user name in the takeout.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be imported.")] = False,
    by_day: Annotated[
        bool, typer.Option("--by-day", help="Gemini: make one thread of each day, not of each question.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip threads of a takeout that already exist.")
    ] = False,
) -> None:
    """Import a takeout or the export of another chat. Creates or upgrades the schema first."""
    if _is_takeout(files, user):
        import_takeout(files[0], user, skip_existing=skip_existing, dry_run=dry_run)
        return
    if user is None:
        end("This is the export of another chat: say with --user for whom it is.", 2)
    name: str = user
    settings = settings_or_end()
    shown = console()

    async def work(store: _Store) -> tuple[Report, int]:
        await create_if_new(store)
        account = await store.get_account(name)
        if account is None:
            end(f"There is no user {name!r}. `threadkeeper user add` adds one.", 1)
        owner: User = account.user
        with progress(TextColumn("{task.description}"), console=shown) as bar:
            task = bar.add_task("reading", total=None)

            async def note(report: Report) -> None:
                bar.update(task, description=counted(report.conversations, "conversation"))

            with acting_as(owner.identifier):
                report = await run_import(
                    store,
                    files,
                    owner,
                    dry_run=dry_run,
                    by_day=by_day,
                    expired_before=expired_before(settings.retention_days.get("threads")),
                    progressed=note,
                )
        if not dry_run:
            await store.search_indexer.finish()
        return report, await store.texts_to_index()

    try:
        report, left = with_layer(_Store, settings, work, files=True, new=True, patience_seconds=_PATIENCE_SECONDS)
    except BadPackage as error:
        end(str(error), 1)
    except OSError as error:
        end(f"Cannot read {error.filename or files[0]}: {error.strerror}.", 1)
    for line in lines_of(report, is_dry_run=dry_run):
        shown.print(line, markup=False, highlight=False, soft_wrap=True)
    if left and not dry_run:
        # The database was locked for too long.
        texts = counted(left, "text")
        shown.print(f"{texts} cannot be found yet: the server goes on with the index.", highlight=False)
    if report.failed:
        raise typer.Exit(1)


def _is_takeout(files: list[Path], user: str | None) -> bool:
    """Whether it is a takeout, or, without a user, nothing that is known: then the message is that of a takeout."""
    try:
        if len(files) != 1 or is_takeout(files[0]):
            return len(files) == 1
        package = Package(files)
    except BadPackage:
        return user is None
    except OSError as error:
        end(f"Cannot read {files[0]}: {error.strerror}.", 1)
    try:
        reader_of(package)
    except BadPackage:
        return user is None
    finally:
        package.close()
    return False
