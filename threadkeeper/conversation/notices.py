"""Messages that inform the user and are no part of the conversation: the model does not get them."""

from typing import Any

import chainlit as cl

from threadkeeper.chat.context.steps import NOTICE_STATUS


def notice(sentence: str, **facts: Any) -> cl.Message:
    """A notice, not sent yet. `facts` are added to its metadata."""
    return cl.Message(content=sentence, metadata={"status": NOTICE_STATUS, **facts})


def last_notice(sentence: str) -> cl.Message:
    """A notice that ends a turn, not sent yet.

    It is outside of the turn's run, under whose last message Chainlit's page shows the thumbs.
    """
    message = notice(sentence)
    message.parent_id = None
    return message
