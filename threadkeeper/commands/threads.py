"""`threadkeeper thread`: one conversation, by the id that its address in the browser ends with."""

from typing import Annotated

import typer

from threadkeeper.commands.deletion import ReceiptFile, Yes, delete_for_good

thread_app = typer.Typer(no_args_is_help=True, help="Delete a thread, with a receipt.")

ThreadId = Annotated[str, typer.Argument(help="The end of the thread's address.", show_default=False)]


# A group of one command would otherwise be the command itself.
@thread_app.callback()
def _threads() -> None:
    """Delete a thread, with a receipt."""


@thread_app.command("delete")
def delete_thread(thread_id: ThreadId, yes: Yes = False, receipt: ReceiptFile = None) -> None:
    """Delete a thread for good, with every step, vote and file of it, and print a receipt."""
    what = f"the thread {thread_id}, with every step, vote and file of it,"
    delete_for_good(what, lambda store: store.delete_thread_with_receipt(thread_id), yes=yes, receipt=receipt)
