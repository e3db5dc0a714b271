"""Opens a chat on its page: the settings, the models, the commands, and the first message of its assistant.

Chainlit begins the chat of a session once. Its page may replace its first socket by a second one of the same session
while it loads, and a connection may break: what was sent to the first one is lost. So it is sent again to the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import chainlit as cl
import chainlit.socket
import socketio  # type: ignore[import-untyped]
from chainlit.session import WebsocketSession

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.conversation.answerers import offer_choices
from threadkeeper.conversation.arrivals import Arrivals
from threadkeeper.conversation.assistants import Answerer, opening_prompts, send_prologue
from threadkeeper.conversation.chat_settings import Choices, personal_settings
from threadkeeper.conversation.commands import offer_commands, prompts_of_user
from threadkeeper.conversation.offers import offer, prompt_buttons
from threadkeeper.conversation.turn_order import Turns


async def open_chat(layer: ChainlitLayer, turns: Turns, answerer: Answerer, default: Choices, language: str) -> None:
    """Show what a new conversation begins with, and remember it for `open_again`.

    Args:
        layer: has the prompts.
        turns: those of all sessions.
        answerer: who answers. Of a missing assistant the user is told, and the default chat answers.
        default: the parameters of an answer.
        language: of the user.
    """
    session = cl.context.session
    of_page = turns.of(session)
    if answerer.missing:
        session.chat_profile = None
        of_page.opening_warning = answerer.why(language)
        await cl.context.emitter.send_toast(of_page.opening_warning, "warning")
        answerer = Answerer(offered=answerer.offered)
    of_page.answerer = answerer
    await offer_choices(answerer, default, personal_settings(session.user), None, language)
    of_page.prompts = await prompts_of_user(layer)
    await offer_commands(of_page.prompts, language, begins=True)
    prologue = await send_prologue(answerer)
    if prologue is not None and answerer.assistant is not None:
        of_page.opened_with = [dict(prologue.to_dict())]
        prompts = await opening_prompts(layer, answerer.assistant)
        await offer(turns, session, prompt_buttons(prompts, prologue.id, language), prologue.id)
    of_page.opened_at = time.monotonic()


async def open_again(turns: Turns, default: Choices, language: str, *, read_seconds: float) -> None:
    """Send what `open_chat` has shown, with the settings that the user has chosen since. Nothing is made anew.

    Args:
        turns, default, language: as for `open_chat`.
        read_seconds: after this time, the page has read the opening, and nothing is sent: another picker of models
            would forget which one the user has picked.
    """
    session, emitter = cl.context.session, cl.context.emitter
    of_page = turns.of(session)
    if of_page.opened_at is not None and time.monotonic() - of_page.opened_at > read_seconds:
        return
    if of_page.opening_warning:
        await emitter.send_toast(of_page.opening_warning, "warning")
    await offer_choices(of_page.answerer, default, session.chat_settings, None, language)
    await offer_commands(of_page.prompts, language, begins=True)
    for step in of_page.opened_with:
        # The page shows no step whose parent it does not have, and may not have this run.
        shown: Any = {**step, "parentId": None}
        await emitter.send_step(shown)
    for button in list(of_page.offers):
        # The page would show a button twice that it has already.
        await button.remove()
        # The first question, which removes the buttons, may have come meanwhile.
        if button in of_page.offers:
            await button.send(for_id=button.forId or "")


def open_on_any_socket(
    server: socketio.AsyncServer, arrivals: Arrivals, again: Callable[[float], Awaitable[None]]
) -> None:
    """Let `again`, which gets the `read_seconds` of `open_again`, serve the sockets that come after the first one."""
    # A socket that lives longer has answered a ping that was sent behind the opening.
    read_seconds = server.eio.ping_interval + server.eio.ping_timeout

    async def connected(sid: str) -> None:
        session = WebsocketSession.get(sid)
        beginning = session.current_task if session is not None and session.chat_started else None
        try:
            # Sets the context of the session as well.
            await chainlit.socket.connection_successful(sid)
        finally:
            if session is not None:
                arrivals.end(session, sid)
        if session is None or beginning is None or session.has_first_interaction:
            return
        # If the socket names a thread, the user does not have it.
        session.thread_id_to_resume = None
        await asyncio.wait([beginning])
        # A still newer socket, or the first question, may have come meanwhile.
        if session.socket_id == sid and not session.has_first_interaction:
            await again(read_seconds)

    server.on("connection_successful", connected)
