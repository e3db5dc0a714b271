"""The language of the person on the page."""

import chainlit as cl
from chainlit.config import config
from chainlit.session import WebsocketSession

from threadkeeper.language.chosen import chosen_language
from threadkeeper.language.negotiation import language_for


def language_of_session() -> str:
    """The language of the current session: the person's choice, the operator's, or what the browser asks for first."""
    session = cl.context.session
    if not isinstance(session, WebsocketSession):
        return language_for(config.ui.language)
    return language_for(chosen_language(session.environ.get("HTTP_COOKIE")), config.ui.language, session.language)
