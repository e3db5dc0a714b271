"""The reader's choice of a language stands in front of what the browser asks for.

A request whose cookie has a choice gets it as its Accept-Language. So every page, every error and the chat's websocket
obey it, and none of them needs to know of the cookie.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from threadkeeper.language.chosen import chosen_language
from threadkeeper.web.auth.tokens import with_one_cookie_header


async def as_chosen(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI middleware that puts the choice into the place of Accept-Language."""
    if scope["type"] in ("http", "websocket"):
        scope = with_one_cookie_header(scope)
        if language := chosen_language(Headers(scope=scope).get("cookie")):
            others = [(name, value) for name, value in scope["headers"] if name != b"accept-language"]
            scope = {**scope, "headers": [*others, (b"accept-language", language.encode())]}
    await app(scope, receive, send)
