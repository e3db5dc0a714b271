"""The language of the person on the page."""

import chainlit as cl
from chainlit.config import config
from chainlit.session import WebsocketSession

from threadkeeper.language.negotiation import language_for


def language_of_session() -> str:
    """The language of the current session: the operator's choice, or what the browser asks for first."""
    session = cl.context.session
    return language_for(config.ui.language, session.language if isinstance(session, WebsocketSession) else None)
