"""The language of the person on the page."""

import chainlit as cl
from chainlit.session import WebsocketSession


def language_of_session() -> str:
    """The language that the browser of the current session asks for first."""
    session = cl.context.session
    return session.language if isinstance(session, WebsocketSession) else "en"
