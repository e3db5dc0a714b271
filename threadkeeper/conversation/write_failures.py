"""Tells a user that a write was refused: with a toast on the page from which it came."""

import chainlit as cl
from chainlit.context import context_var

from datalayer import WriteFailure
from threadkeeper import metrics
from threadkeeper.chat.wording import say
from threadkeeper.conversation.language import language_of_session


async def show_write_failure(failure: WriteFailure) -> None:
    """Count the failure, and show it to the user if there is a page. The data layer has written it into the log."""
    metrics.write_failures.inc()
    # A lost row of usage takes nothing away that the user wrote or read.
    if failure.what != "call" and context_var.get(None) is not None:
        sentence = "file_not_saved" if failure.what == "file" else "not_saved"
        await cl.context.emitter.send_toast(say(sentence, language_of_session()), "error")
