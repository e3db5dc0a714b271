"""What is deleted for good at the terminal: asked for once, and told in a receipt."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from datalayer import Receipt
from datalayer.accounts.erasure import Erasure
from threadkeeper.commands.terminal import end, new_file, settings_or_end, with_layer
from threadkeeper.settings.settings import Settings

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ReceiptFile = Annotated[
    Path | None, typer.Option("--receipt", help="A new file for the receipt as well.", show_default=False)
]


def delete_for_good(
    what: Callable[[Settings], str],
    delete: Callable[[Erasure], Awaitable[Receipt]],
    *,
    yes: bool,
    receipt: Path | None,
) -> None:
    """Ask, delete, and print the receipt; it goes into the file too, if one is named.

    Args:
        what: gives what is to be deleted, in the words of the question; is called only where it is asked.
    """
    settings = settings_or_end()
    if not yes:
        if not sys.stdin.isatty():
            end("Nobody is there to be asked: use --yes.", 1)
        if not typer.confirm(f"Delete {what(settings)} for good?"):
            end("Nothing was deleted.", 1)
    # Before anything is gone: what cannot be written afterwards would be lost.
    file = new_file(receipt, "The receipt", "Nothing was deleted.") if receipt else None

    async def delete_whole(store: Erasure) -> Receipt:
        done = await delete(store)
        # The words of the search index too, before this process ends.
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
        end(f"{len(done.files_left)} files could not be removed from the store; the receipt names them.", 1)
