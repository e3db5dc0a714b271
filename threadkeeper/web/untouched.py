"""Paths whose responses are not ours: their bytes go through without the compression of Chainlit's application."""

from starlette.types import ASGIApp, Receive, Scope, Send

from threadkeeper.web.root_path import own_path

ACCEPTED = "threadkeeper.accept_encoding"
"""Where the scope of such a request has its Accept-Encoding."""

_FOLDERS = ("/gateway/", "/v1/")


async def untouched(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI middleware outside of the compression, from which it hides Accept-Encoding."""
    if scope["type"] == "http" and own_path(scope).startswith(_FOLDERS):
        accepted = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-encoding"]
        others = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        scope = {**scope, "headers": others, ACCEPTED: ", ".join(accepted) if accepted else None}
    await app(scope, receive, send)
