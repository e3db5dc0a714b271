"""`threadkeeper adopt`: a database of Chainlit's own data layers, in place, or from a DynamoDB table and back."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from datalayer.errors import SchemaError
from threadkeeper.commands.terminal import (
    console,
    end,
    make_data_dir,
    open_store,
    progress,
    settings_or_end,
    with_accounts,
)
from threadkeeper.language.numbers import counted

if TYPE_CHECKING:
    from datalayer.database import Database
    from datalayer.transfer.report import TransferReport
    from threadkeeper.settings.settings import Settings

_FIRST_COLUMNS = ("Kind", "Found", "There before")


def adopt(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A DynamoDB table, as in dynamodb://table?region=eu-central-1, to copy into the database. "
            "Without it, the database itself is adopted in place.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="A DynamoDB table to copy the chat of the database to. It is created if it is missing."
        ),
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            "--files", help="The file store of the DynamoDB table, if it is not that of BLOB_URL. Files are copied."
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes. Without this option: a dry run.")] = False,
) -> None:
    """Adopt a database of one of Chainlit's own data layers, or a DynamoDB table. A dry run by default."""
    settings = settings_or_end()
    if source is not None and to is not None:
        end("Name one table: DYNAMODB-URL to copy it into the database, or --to DYNAMODB-URL to copy to it.", 2)
    table = source or to
    if table is None:
        if files is not None:
            end("--files is the store of a DynamoDB table: name the table.", 2)
        _adopt_in_place(settings, apply=apply)
        return
    report = _transferred(settings, table, files, is_target=to is not None, apply=apply)
    _show(report)
    dry = "Dry run: nothing was changed. To apply, run the command with `--apply`."
    if report.problems and apply:
        differ = counted(report.problems, "record differs", "records differ")
        end(f"{differ} in the target from the source: see the findings. If somebody wrote meanwhile, run it again.", 1)
    if report.problems:
        wrong = counted(report.problems, "record cannot be copied, or is", "records cannot be copied, or are")
        end(f"{wrong} different in the target: see the findings. {dry} It copies the others.", 1)
    console().print("Done. Source and target agree." if apply else dry)


def _adopt_in_place(settings: "Settings", *, apply: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from datalayer.adoption.adopt import adopt as adopt_database
    from threadkeeper.settings.urls import sqlite_file

    if (file := sqlite_file(settings.resolved_database_url)) and not file.exists():
        end(f"No database to adopt: {file} does not exist.", 1)
    report = with_accounts(settings, lambda accounts: adopt_database(accounts.database, apply=apply))
    shown = console()
    table = Table("From", "To", "Found", "Rows before", "Rows after", "Not copied")
    for count in report.counts:
        table.add_row(count.source, count.table, *map(str, (count.found, count.before, count.after, count.left_behind)))
    shown.print(table)
    if report.findings:
        table = Table("Finding", "Count", "Examples")
        for finding in report.findings:
            table.add_row(Text(finding.what), str(finding.count), Text(", ".join(finding.examples)))
        shown.print(table)
    dry = "Dry run: nothing was changed. To apply, run `threadkeeper adopt --apply`."
    shown.print("Done." if report.applied else dry)


def _transferred(
    settings: "Settings", place: str, files: str | None, *, is_target: bool, apply: bool
) -> "TransferReport":
    """The report of a copy from the table at this place, or to it."""
    from rich.progress import TextColumn

    from datalayer.errors import BlobError, ConfigurationError, DataLayerError, sentence

    try:
        # The package for DynamoDB is an extra.
        from datalayer.dynamodb import tables
        from datalayer.dynamodb.client import Table, place_of
        from datalayer.transfer.to_sql import to_sql
        from datalayer.transfer.to_table import to_table

        table = Table(place_of(place))
    except ModuleNotFoundError as error:
        end(f"DynamoDB needs the package {error.name}: pip install 'threadkeeper[dynamodb]'.", 2)
    except ConfigurationError as error:
        end(sentence(error), 2)

    async def work() -> "TransferReport":
        async with AsyncExitStack() as closing:
            closing.push_async_callback(table.close)
            database = await _database(settings, closing, creates=apply and not is_target)
            store = open_store(settings)
            closing.push_async_callback(store.close)
            other = None
            if files is not None:
                other = open_store(settings, files, option="--files")
                closing.push_async_callback(other.close)
            bar = closing.enter_context(progress(TextColumn("{task.completed} records"), console=console()))
            records = bar.add_task("records", total=None)

            def progressed(report: "TransferReport") -> None:
                bar.update(records, completed=sum(one.found for one in report.kinds().values()))

            if not is_target:
                theirs, ours = (other, store) if other is not None else (store, None)
                return await to_sql(table, theirs, database, ours, apply=apply, progressed=progressed)
            if database is None:
                raise SchemaError("there is nothing to copy: the database of DATABASE_URL has no tables")
            if apply:
                await tables.create(table)
            there = apply or await tables.exists(table)
            return await to_table(database, store, table if there else None, other, apply=apply, progressed=progressed)

    try:
        return asyncio.run(work())
    except BlobError as error:
        end(f"The file store: {error}. Run the command again; what was copied stays.", 1)
    except DataLayerError as error:
        end(f"{sentence(error)} Run the command again; what was copied stays.", 1)


async def _database(settings: "Settings", closing: AsyncExitStack, *, creates: bool) -> "Database | None":
    """The database, with its schema; None if it has none and is not to be created."""
    from datalayer import migrations
    from datalayer.database import Database
    from threadkeeper.settings.urls import sqlite_file

    url = settings.resolved_database_url
    if (file := sqlite_file(url)) and not file.exists():
        if not creates:
            return None
        make_data_dir(settings)
    database = Database(url)
    closing.push_async_callback(database.close)
    if await migrations.is_new(database):
        if not creates:
            return None
        await migrations.migrate(database)
    elif await migrations.pending_migrations(database):
        raise SchemaError("the schema of DATABASE_URL is not up to date: run `threadkeeper migrate` first")
    return database


def _show(report: "TransferReport") -> None:
    from rich.table import Table
    from rich.text import Text

    shown = console()
    done = ("Stored", "Replaced") if report.applied else ("To store", "To replace")
    table = Table(*_FIRST_COLUMNS, *done, "Left out", "Failed", "Different", "Missing at the end")
    for name, one in report.kinds().items():
        numbers = (
            *(one.found, one.there, one.stored, one.replaced, one.left_out, one.failed, one.differing),
            one.missing if report.applied else "",
        )
        table.add_row(name, *map(str, numbers))
    shown.print(table)
    if report.findings:
        table = Table("Finding", "Count", "Examples")
        for finding in report.findings.values():
            table.add_row(Text(finding.what), str(finding.count), Text(", ".join(finding.examples)))
        shown.print(table)
    if report.not_moved:
        table = Table("Not for DynamoDB", "Rows that stay behind")
        for what, count in report.not_moved.items():
            table.add_row(what, str(count))
        shown.print(table)
