"""What Chainlit keeps of a page's thread in memory, made as it is stored.

Chainlit edits a question of its memory, and removes from there what is behind it. A program, or another page, may have
edited the question since, or asked a question of which this memory does not know.
"""

import logging
from typing import Any, cast

import chainlit.socket
import socketio  # type: ignore[import-untyped]
from chainlit.chat_context import chat_contexts
from chainlit.context import init_ws_context
from chainlit.message import Message
from chainlit.session import BaseSession, WebsocketSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper.conversation.arrivals import Arrivals

logger = logging.getLogger(__name__)


def edit_stored_messages(server: socketio.AsyncServer, arrivals: Arrivals, layer: ChainlitLayer) -> None:
    """Let an edit on a page begin with the messages that are stored, when the page has its thread."""

    async def edit(sid: str, payload: Any) -> None:
        session = WebsocketSession.get(sid)
        if session is not None:
            await arrivals.over(session)
            # The page may have another socket by now.
            sid = session.socket_id
            # As Chainlit's handler begins; messages are made in it.
            init_ws_context(session)
            try:
                take_stored(session, await layer.get_thread(session.thread_id) or {"steps": []})
            except DataLayerError as error:
                # The turn of the edit cannot read the thread either, and tells the user.
                ids = {"thread_id": session.thread_id}
                logger.warning("an edit begins with what the page remembers: %s", error, extra=ids)
        await chainlit.socket.edit_message(sid, payload)

    server.on("edit_message", edit)


def take_stored(session: BaseSession, thread: dict[str, Any]) -> list[Message]:
    """Let Chainlit's memory of a session have the messages of its stored thread; gives them, oldest first.

    Messages that are not stored (any more) stay, at the end.

    Args:
        session: of the owner of the thread; for others, nothing changes.
        thread: a ThreadDict.
    """
    known = list(chat_contexts.get(session.id, ()))
    if thread.get("userIdentifier") != getattr(session.user, "identifier", None):
        return known
    by_id = {one.id: one for one in known}
    stored = []
    for step in thread["steps"]:
        if not step["type"].endswith("_message"):
            continue
        message = by_id.pop(step["id"], None)
        if message is None:
            message = Message.from_dict(step)
        elif step["type"] == "user_message":
            message.content, message.modes = step["output"], cast(Any, step.get("modes"))
            message.metadata = step.get("metadata") or {}
        stored.append(message)
    chat_contexts[session.id] = [*stored, *by_id.values()]
    return list(chat_contexts[session.id])
