"""Traces the requests of programs: to the API, to `/v1` and to the gateway."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadkeeper.tracing import hooks
from threadkeeper.web.root_path import own_path

_FOLDERS = ("/api/", "/interactions/", "/v1/", "/gateway/")


async def traced(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI middleware inside of all others, so that it sees which route took the request."""
    path = own_path(scope) if scope["type"] == "http" else ""
    if not path.startswith(_FOLDERS):
        await app(scope, receive, send)
        return
    status = 500

    async def send_noted(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    with hooks.request(scope["method"], path, scope["headers"]) as note:
        try:
            await app(scope, receive, send_noted)
        finally:
            note(status, _route(scope, path))


def _route(scope: Scope, path: str) -> str:
    """The path without the values of its parameters, of which the gateway has any."""
    route = getattr(scope.get("route"), "path", None)
    return str(route) if route else f"/{path.split('/')[1]}/{{path}}"
