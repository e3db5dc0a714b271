"""`threadkeeper thread`: commands for one thread, by its id, which is the end of its URL."""

from typing import Annotated

import typer

from datalayer import Thread
from datalayer.accounts.accounts import Accounts
from datalayer.cleaning import known_id
from datalayer.history import threads
from threadkeeper.commands.deletion import ReceiptFile, Yes, delete_for_good
from threadkeeper.commands.terminal import end, with_accounts
from threadkeeper.settings.settings import Settings

thread_app = typer.Typer(no_args_is_help=True, help="Delete a thread, with a receipt.")

ThreadId = Annotated[str, typer.Argument(help="The id of the thread: the end of its URL.", show_default=False)]


# Without a callback, Typer turns a group with one command into that command.
@thread_app.callback()
def _threads() -> None:
    """Delete a thread, with a receipt."""


@thread_app.command("delete")
def delete_thread(thread_id: ThreadId, yes: Yes = False, receipt: ReceiptFile = None) -> None:
    """Permanently delete a thread with all its steps, votes and files."""
    delete_for_good(
        lambda settings: _described(settings, thread_id),
        lambda store: store.delete_thread_with_receipt(thread_id),
        yes=yes,
        receipt=receipt,
    )


def _described(settings: Settings, thread_id: str) -> str:
    """The thread for the confirmation: id, title and owner."""

    async def find(accounts: Accounts) -> Thread | None:
        known = known_id(thread_id)
        return await accounts.database.query(lambda connection: threads.get(connection, known)) if known else None

    thread = with_accounts(settings, find)
    if thread is None:
        end("There is no such thread.", 1)
    # `repr` escapes control characters, so that a title cannot move the cursor.
    title = repr(thread.name) if thread.name else "no title"
    owner = f"owner {thread.user_identifier!r}" if thread.user_identifier else "no owner"
    return f"the thread {thread.id} ({title}, {owner}) with all its steps, votes and files"
