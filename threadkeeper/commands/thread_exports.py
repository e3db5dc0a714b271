"""`threadkeeper threads export`: threads of a user as Markdown, HTML, JSON or OpenAI messages."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from datalayer import acting_as
from datalayer.accounts.accounts import Accounts
from datalayer.files.files import Files
from datalayer.imports.imports import Imports
from threadkeeper.commands.terminal import end, settings_or_end, with_layer
from threadkeeper.exporting.export import export

threads_app = typer.Typer(no_args_is_help=True, help="Export threads as Markdown, HTML, JSON or OpenAI messages.")


# Without a callback, Typer turns a group with one command into that command.
@threads_app.callback()
def _threads() -> None:
    """Export threads as Markdown, HTML, JSON or OpenAI messages."""


class Format(StrEnum):
    markdown = "markdown"
    html = "html"
    json = "json"
    openai = "openai"


class _Store(Accounts, Files, Imports):
    pass


@threads_app.command("export")
def export_threads(
    user: Annotated[str, typer.Option("--user", help="Login name of the user.", show_default=False)],
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of threads. Default: all threads of the user.", show_default=False)
    ] = None,
    file_format: Annotated[Format, typer.Option("--format", help="The format.")] = Format.markdown,
    to: Annotated[
        Path | None, typer.Option("--to", help="A new file. Default: standard output.", show_default=False)
    ] = None,
) -> None:
    """Export threads of a user, one or all. `threadkeeper import` reads the JSON again."""

    async def work(store: _Store) -> None:
        account = await store.get_account(user)
        if account is None:
            end(f"There is no user {user!r}.", 1)
        with acting_as(account.user.identifier):
            if ids and len(await store.export_threads(ids)) < len(set(ids)):
                end("A thread does not exist, or belongs to somebody else.", 1)
            parts = export(store, account.user.id, file_format.value, ids or None)
            with _opened(to) as file:
                async for part in parts:
                    file.write(part)

    try:
        with_layer(_Store, settings_or_end(), work, files=True)
    except OSError as error:
        end(f"Cannot write {to or 'the output'}: {error.strerror}.", 1)


def _opened(to: Path | None) -> BinaryIO:
    if to is None:
        return open(sys.stdout.fileno(), "wb", closefd=False)
    file: BinaryIO = to.open("xb")
    to.chmod(0o600)
    return file
