"""What every command has to do with the terminal: settings, words, and the end.

Wrong settings end a command with one sentence for each and exit code 2, what cannot be done with one and exit code 1.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import typer

from datalayer import AlreadyExists, BlobError, BlobStore, ConfigurationError, DataLayerError, InvalidRecord, NotFound
from datalayer.accounts import Accounts
from datalayer.database import Database
from datalayer.guarded import GuardedStore
from threadkeeper.blobs import open_blobs
from threadkeeper.cookie_secret import make_data_dir as make_dir
from threadkeeper.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    # What is shown to a program, and most of what is shown at all, needs none of it.
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

T = TypeVar("T")
L = TypeVar("L", bound=GuardedStore)


def settings_or_end() -> Settings:
    """The settings, if none of them is wrong."""
    try:
        return load_settings()
    except SettingsError as error:
        end(f"{error} `threadkeeper check` lists every setting.", 2)


def make_data_dir(settings: Settings) -> None:
    """Make the folder of the data, if it can be made."""
    try:
        make_dir(settings.data_dir)
    except OSError as error:
        end(f"DATA_DIR {settings.data_dir} cannot be made: {error.strerror}.", 2)


def open_store(settings: Settings, url: str | None = None) -> BlobStore:
    """The store of files that the settings name, or the one of this URL with the same credentials."""
    try:
        return open_blobs(settings, url)
    except ConfigurationError as error:
        end(f"{'--to' if url else 'BLOB_URL'}: {error}.", 2)


def progress(*columns: "ProgressColumn", console: "Console") -> "Progress":
    """A bar that is to be seen at a terminal alone, and gone when its work is done."""
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def with_layer(kind: type[L], settings: Settings, work: Callable[[L], Awaitable[T]], *, files: bool = False) -> T:
    """What the work gives, with a part of the data layer; where that refuses, the end, in words.

    Args:
        files: whether it has the store of files.
    """

    async def work_and_close() -> T:
        store = open_store(settings) if files else None
        layer = kind(Database(settings.resolved_database_url), store, patience_seconds=0)
        try:
            return await work(layer)
        finally:
            await layer.close()

    return run(work_and_close())


def with_accounts(settings: Settings, work: Callable[[Accounts], Awaitable[T]]) -> T:
    """What the work gives; where the data layer refuses, the end, in words."""
    return with_layer(Accounts, settings, work)


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; where the data layer refuses, the end, in words."""
    try:
        return asyncio.run(work)
    except (NotFound, AlreadyExists, InvalidRecord) as error:
        end(_sentence(error), 1)
    except BlobError as error:
        end(f"BLOB_URL: {error}.", 1)
    except DataLayerError as error:
        end(f"DATABASE_URL: {error}.", 1)


def new_file(path: Path, what: str, otherwise: str) -> TextIO:
    """A file that was not there before, for its owner's eyes alone."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        end(f"{what} cannot be written to {path}: {error.strerror}. {otherwise}", 1)


def console() -> "Console":
    """Where tables are shown. Where nobody looks, nothing is cut to fit a screen."""
    from rich.console import Console  # noqa: PLC0415

    return Console() if sys.stdout.isatty() else Console(width=200)


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for a person, lines with tabs for a program."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            typer.echo("\t".join(row))
        return
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*header)
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def end(words: str, code: int) -> NoReturn:
    """Say it and leave with this exit code."""
    typer.echo(words, err=True)
    raise typer.Exit(code)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
