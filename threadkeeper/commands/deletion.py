"""Permanent deletion from the command line: a confirmation, the deletion, a receipt."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threadkeeper.commands.terminal import end, new_file, settings_or_end, with_layer

if TYPE_CHECKING:
    from datalayer import Receipt
    from datalayer.accounts.erasure import Erasure
    from threadkeeper.settings.settings import Settings

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
ReceiptFile = Annotated[
    Path | None, typer.Option("--receipt", help="Also write the receipt to this new file.", show_default=False)
]


def delete_for_good(
    what: "Callable[[Settings], str]",
    delete: "Callable[[Erasure], Awaitable[Receipt]]",
    *,
    yes: bool,
    receipt: Path | None,
) -> None:
    """Ask for confirmation, delete, and print the receipt.

    Args:
        what: returns the description for the confirmation; called only if the command asks for one.
        yes: do not ask for confirmation.
        receipt: also write the receipt to this new file.
    """
    from datalayer.accounts.erasure import Erasure

    settings = settings_or_end()
    if not yes:
        if not sys.stdin.isatty():
            end("No terminal to ask for confirmation. Use --yes to proceed without it.", 1)
        if not typer.confirm(f"Permanently delete {what(settings)}?"):
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
    text = json.dumps(asdict(done), indent=2, ensure_ascii=False)
    typer.echo(text)
    if file:
        with file:
            file.write(f"{text}\n")
    if done.files_left:
        end(
            f"{len(done.files_left)} files could not be deleted from the store. The receipt names them. "
            "They are queued and will be deleted later.",
            1,
        )
