"""`threadkeeper thread`: one conversation, by the id that its address in the browser ends with."""

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

ThreadId = Annotated[str, typer.Argument(help="The end of the thread's address.", show_default=False)]


# A group of one command would otherwise be the command itself.
@thread_app.callback()
def _threads() -> None:
    """Delete a thread, with a receipt."""


@thread_app.command("delete")
def delete_thread(thread_id: ThreadId, yes: Yes = False, receipt: ReceiptFile = None) -> None:
    """Delete a thread for good, with every step, vote and file of it, and print a receipt."""
    delete_for_good(
        lambda settings: _described(settings, thread_id),
        lambda store: store.delete_thread_with_receipt(thread_id),
        yes=yes,
        receipt=receipt,
    )


def _described(settings: Settings, thread_id: str) -> str:
    """The thread in the words of the question: nobody knows an id by heart."""

    async def find(accounts: Accounts) -> Thread | None:
        known = known_id(thread_id)
        return await accounts.database.query(lambda connection: threads.get(connection, known)) if known else None

    thread = with_accounts(settings, find)
    if thread is None:
        end("There is no such thread.", 1)
    # As they are in Python: what a user wrote moves no cursor.
    title = repr(thread.name) if thread.name else "without a title"
    owner = f"of {thread.user_identifier!r}" if thread.user_identifier else "of nobody"
    return f"the thread {thread.id} ({title}, {owner}), with every step, vote and file of it,"
