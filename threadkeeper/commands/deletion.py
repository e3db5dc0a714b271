"""Permanent deletion from the command line: a confirmation, the deletion, its counts, and a receipt in a file."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from threadkeeper.commands.terminal import end, new_file, settings_or_end, with_layer
from threadkeeper.language.numbers import counted

if TYPE_CHECKING:
    from datalayer import Receipt, RetentionReceipt
    from datalayer.accounts.erasure import Erasure
    from threadkeeper.settings.settings import Settings

_MOST_KEYS = 20

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
ReceiptFile = Annotated[
    Path | None,
    typer.Option(
        "--receipt", help="Write the receipt, with the ids of all deleted rows, to this new file.", show_default=False
    ),
]


def delete_for_good(
    what: "Callable[[Settings], str]",
    delete: "Callable[[Erasure], Awaitable[Receipt]]",
    *,
    yes: bool,
    receipt: Path | None,
) -> None:
    """Ask for confirmation, delete, and print what was deleted.

    Args:
        what: returns the description for the confirmation; called only if the command asks for one.
        yes: do not ask for confirmation.
        receipt: write the receipt to this new file. It cannot be written later.
    """
    from datalayer.accounts.erasure import Erasure

    settings = settings_or_end()
    if not yes:
        if not sys.stdin.isatty():
            end("No terminal to ask for confirmation. Use --yes to proceed without it.", 1)
        description = what(settings)
        if receipt is None:
            typer.echo("No receipt is written. To write one with the ids of all deleted rows, use --receipt FILE.")
        if not typer.confirm(f"Permanently delete {description}?"):
            end("Nothing was deleted.", 1)
    # Opened before the deletion: if the file cannot be written, nothing is deleted.
    file = new_file(receipt, "the receipt", "Nothing was deleted.") if receipt else None

    async def delete_whole(store: "Erasure") -> "Receipt":
        done = await delete(store)
        # Deletes the words of the search index before this process ends.
        await store.search_indexer.finish()
        return done

    try:
        done = with_layer(Erasure, settings, delete_whole, files=True)
    except typer.Exit:
        if receipt and file:
            file.close()
            receipt.unlink()
        raise
    for line in deleted(done):
        typer.echo(line)
    write_receipt(file, receipt, asdict(done))
    end_if_files_are_left(done.files_left)


def deleted(done: "Receipt | RetentionReceipt") -> "Iterator[str]":
    """What was deleted, in one or two sentences. The second counts the rows that the first does not name, by table."""
    rows, votes = dict(done.rows), done.rows.get("feedbacks", 0)
    counts = {"thread": rows.pop("threads", 0), "message": done.messages, "vote": votes, "file": len(done.files)}
    yield f"{', '.join(counted(count, noun) for noun, count in counts.items())} deleted."
    rows.pop("feedbacks", None)
    # The messages are rows of this table.
    rows["steps"] = rows.get("steps", 0) - done.messages
    others = [f"{name} {count:,}" for name, count in sorted(rows.items()) if count]
    if others:
        yield f"Other rows deleted: {', '.join(others)}."


def write_receipt(file: TextIO | None, path: Path | None, receipt: Any) -> None:
    """Write the receipt to the file, or print it if that fails: the deletion cannot be repeated."""
    if file is None:
        typer.echo("No receipt was written: --receipt was not given.")
        return
    text = json.dumps(receipt, indent=2, ensure_ascii=False)
    try:
        with file:
            file.write(f"{text}\n")
    except OSError as error:
        typer.echo(text)
        end(f"Cannot write the receipt to {path}: {error.strerror}. It was printed instead.", 1)
    typer.echo(f"The receipt is in {path}.")


def end_if_files_are_left(keys: Sequence[str]) -> None:
    """End the command with a message if the store did not delete some files."""
    if not keys:
        return
    some = ", ".join(map(repr, keys[:_MOST_KEYS])) + (", …" if len(keys) > _MOST_KEYS else "")
    end(f"{counted(len(keys), 'file')} could not be deleted from the store, and will be deleted later: {some}.", 1)
