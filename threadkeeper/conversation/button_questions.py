"""Questions that a button asks: the opening prompts and the tips of an assistant."""

import asyncio
import uuid
from typing import Any

import chainlit as cl
from chainlit.chat_context import chat_context

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now


async def put_question(layer: ChainlitLayer, text: str, *, begins: bool) -> cl.Message:
    """Put a question into the conversation, as if the user had typed it; returns its message.

    Args:
        layer: stores the name of the thread.
        text: the question.
        begins: whether the thread begins with it.
    """
    session, emitter = cl.context.session, cl.context.emitter
    asked = (message for message in reversed(chat_context.get()) if message.type == "user_message")
    step: Any = {
        "id": str(uuid.uuid4()),
        "threadId": session.thread_id,
        "name": session.user.identifier if session.user else "",
        "type": "user_message",
        "output": text,
        "createdAt": utc_now(),
        # The page sends the picked model with a typed question only.
        "modes": next((message.modes for message in asked), None),
    }
    if begins:
        # Chainlit names a thread that begins with a button after the button, in a task that has not begun yet.
        await asyncio.sleep(0)
        await layer.update_thread(session.thread_id, name=text)
    message = await emitter.process_message({"message": step, "fileReferences": None})
    await emitter.send_step(message.to_dict())
    return message
