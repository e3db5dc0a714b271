"""Shared by all commands: loading the settings, running the work, output and exit codes.

Invalid settings end a command with one sentence per setting and exit code 2, other errors with exit code 1.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import typer

from datalayer.errors import (
    AlreadyExists,
    BackupError,
    BlobError,
    ConfigurationError,
    DataLayerError,
    InvalidRecord,
    NotFound,
    sentence,
)

if TYPE_CHECKING:
    # Imported when they are used: `user list` needs none of them, and most commands do not need rich.
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from datalayer import BlobStore
    from datalayer.accounts.accounts import Accounts
    from datalayer.store import DataStore
    from threadkeeper.settings.settings import Settings

T = TypeVar("T")
L = TypeVar("L", bound="DataStore")


def settings_or_end() -> "Settings":
    """The settings. If one is invalid, the command ends."""
    from threadkeeper.settings.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        end(f"{error} `threadkeeper check` lists every setting.", 2)


def make_data_dir(settings: "Settings") -> None:
    """Create the folder `DATA_DIR`. If that fails, the command ends."""
    from threadkeeper.settings import cookie_secret

    try:
        cookie_secret.make_data_dir(settings.data_dir)
    except OSError as error:
        end(f"Cannot create DATA_DIR {settings.data_dir}: {error.strerror}.", 2)


def open_store(settings: "Settings", url: str | None = None, *, option: str = "--to") -> "BlobStore":
    """The file store of the settings, or the store at the URL of this option with the same credentials."""
    # Only commands that touch files need the factories, and with them the model.
    from threadkeeper.factories import open_blobs

    try:
        return open_blobs(settings, url)
    except ConfigurationError as error:
        end(f"{option if url else 'BLOB_URL'}: {error}.", 2)


def progress(*columns: "ProgressColumn", console: "Console") -> "Progress":
    """A progress bar. It is shown on a terminal only, and is removed at the end."""
    from rich.progress import Progress

    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def with_layer(
    kind: type[L],
    settings: "Settings",
    work: Callable[[L], Awaitable[T]],
    *,
    files: bool = False,
    new: bool = False,
    patience_seconds: float = 0,
) -> T:
    """The result of `work` with a part of the data layer. Errors of the data layer end the command with a message.

    Args:
        files: open the file store as well.
        new: `work` creates the schema if the database has none. Otherwise a missing SQLite file ends the command.
        patience_seconds: for how long a write waits for a database that is away or locked.
    """
    from datalayer.database import Database
    from threadkeeper.settings.urls import sqlite_file

    file = sqlite_file(settings.resolved_database_url)
    if new:
        make_data_dir(settings)
    elif file and not file.exists():
        end(f"There is no database yet: {file} does not exist. `threadkeeper migrate` creates it.", 1)

    async def work_and_close() -> T:
        store = open_store(settings) if files else None
        layer = kind(Database(settings.resolved_database_url), store, patience_seconds=patience_seconds)
        try:
            return await work(layer)
        finally:
            await layer.close()

    return run(work_and_close())


def with_accounts(settings: "Settings", work: "Callable[[Accounts], Awaitable[T]]", *, new: bool = False) -> T:
    """The result of `work` with the accounts. Arguments as for `with_layer`."""
    from datalayer.accounts.accounts import Accounts

    return with_layer(Accounts, settings, work, new=new)


async def create_if_new(layer: "DataStore") -> None:
    """Create the schema in an empty database, so that a command can be run before the first start."""
    if await layer.is_new():
        await layer.migrate()


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Errors of the data layer end the command with a message."""
    import asyncio

    try:
        return asyncio.run(work)
    except (NotFound, AlreadyExists, InvalidRecord, BackupError) as error:
        end(sentence(error), 1)
    except BlobError as error:
        end(f"BLOB_URL: {error}.", 1)
    except DataLayerError as error:
        end(f"DATABASE_URL: {error}.", 1)


def new_file(path: Path, what: str, otherwise: str) -> TextIO:
    """Create a file that only its owner can read. If the file exists already, the command ends with a message."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        end(f"Cannot write {what} to {path}: {error.strerror}. {otherwise}", 1)


def console() -> "Console":
    """The console for tables: as wide as the terminal, or 200 columns if the output is not a terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "") -> None:
    """Print a table on a terminal, otherwise lines with tabs between the values.

    `empty`: printed on a terminal instead of a table without rows. Programs always get the header.
    """
    if not sys.stdout.isatty():
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    rows = list(rows)
    if empty and not rows:
        typer.echo(empty)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*header)
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def end(words: str, code: int) -> NoReturn:
    """Print the message on standard error and end the command with this exit code."""
    typer.echo(words, err=True)
    raise typer.Exit(code)
