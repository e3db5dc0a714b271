"""Everything below one path of a host (`CHAINLIT_ROOT_PATH`), behind a proxy that forwards the path or removes it.

Inside the application, every path has the root path in front, as Chainlit's own routes have. Requests without it, from
a proxy that removes it or from a probe, get it here. Redirects and cookies of our routes get it here as well.
"""

import re
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadkeeper.settings.root_path import root_path, under_root

_COOKIE_PATH = re.compile(r"(;\s*path=)(/[^;]*)", re.IGNORECASE)
_ADDRESS = re.compile(r'(\s(?:href|src|action)=")(/[^"]*)')


def own_path(scope: MutableMapping[str, Any]) -> str:
    """The path of a request without the root path."""
    path = str(scope["path"])
    root = root_path()
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def page_under_root(html: str, root: str) -> str:
    """The page with the root path in front of all its own addresses. Text has no `"`: it is escaped."""
    return _ADDRESS.sub(lambda found: found[1] + under_root(found[2], root), html) if root else html


class UnderRootPath:
    """ASGI middleware, outside of all others."""

    def __init__(self, root: str) -> None:
        self._root = root

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._root or scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        path = scope["path"]
        # React's router writes the start page without a slash.
        inside = f"{self._root}/" if path in (self._root, "") else path
        if not inside.startswith(f"{self._root}/"):
            inside = self._root + inside
        if inside != path:
            raw = inside.encode() if path in (self._root, "") else self._root.encode() + scope.get("raw_path", b"")
            scope = {**scope, "path": inside, "raw_path": raw}

        async def send_under_root(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if location := headers.get("location"):
                    headers["location"] = under_root(location, self._root)
                if cookies := headers.getlist("set-cookie"):
                    del headers["set-cookie"]
                    for cookie in cookies:
                        headers.append("set-cookie", _COOKIE_PATH.sub(self._below, cookie))
            await send(message)

        await app(scope, receive, send_under_root)

    def _below(self, found: re.Match[str]) -> str:
        path = found[2].rstrip("/")
        return found[1] + (under_root(path, self._root) if path else self._root)
