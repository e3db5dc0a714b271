"""Security headers of every response, above all the Content-Security-Policy.

A page may run scripts that this server serves, and inline scripts of the server, each allowed by its hash. A script
that got into an answer or a name does not run. Uploaded markup is not a page of this origin.
"""

import base64
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalayer import BlobError

logger = logging.getLogger(__name__)

_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")

_PAGE_POLICY = {
    "default-src": "'self'",
    "script-src": "'self'",
    # Components, formulas and highlighted code set style attributes.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "frame-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
_SECURE = re.compile(rb";\s*secure\s*(;|$)", re.IGNORECASE)
_UPLOADED = "/project/file/"
_UPLOAD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
# Browsers' PDF viewers do not open in a sandbox.
_PDF = "application/pdf"


class SecurityHeaders:
    """ASGI middleware; must run before compression. Headers that the response already has are kept."""

    def __init__(
        self,
        *,
        file_link: Callable[[], Awaitable[str | None]] | None = None,
        custom_elements: bool = False,
        served_over_https: bool = False,
    ) -> None:
        """Configure what pages may load beyond this server's own files.

        Args:
            file_link: gives any signed link into the store, if browsers load files from it; the file need not exist.
            custom_elements: whether `public/elements/` has scripts, which Chainlit compiles in the browser.
            served_over_https: whether a proxy serves the chat over HTTPS, whatever the scheme of the proxied requests.
        """
        self._served_over_https = served_over_https
        self._file_link = file_link
        self._custom_elements = custom_elements
        self._files_from: str | None = None

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        page_start: Message | None = None
        page = bytearray()

        async def send_with_headers(message: Message) -> None:
            nonlocal page_start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
                if self._served_over_https or scope["scheme"] == "https":
                    headers.raw[:] = _with_secure_cookies(headers.raw)
                mime = headers.get("content-type", "").partition(";")[0].strip().lower()
                # The uploader chooses the type, and browsers run unexpected ones, such as `text/x+xml`.
                if _UPLOADED in scope["path"] and mime != _PDF:
                    headers.setdefault("Content-Security-Policy", _UPLOAD_POLICY)
                elif mime == "text/html" and "content-security-policy" not in headers:
                    page_start = message
                    return
            elif page_start is not None:
                page.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                policy = page_policy(
                    bytes(page),
                    Headers(scope=scope).get("host", ""),
                    files_from=await self._files_origin(),
                    custom_elements=self._custom_elements,
                )
                MutableHeaders(scope=page_start).update({"Content-Security-Policy": policy, "X-Frame-Options": "DENY"})
                await send(page_start)
                page_start, message = None, {**message, "body": bytes(page)}
            await send(message)

        await app(scope, receive, send_with_headers)

    async def _files_origin(self) -> str:
        """Scheme, host and port of the links into the store; "" without such links."""
        if self._files_from is None and self._file_link is not None:
            try:
                link = await self._file_link()
            except BlobError as error:
                logger.warning(
                    "could not find out the host of the file store's links; the next page tries again: %s", error
                )
                return ""
            parts = urlsplit(link or "")
            self._files_from = f"{parts.scheme}://{parts.netloc}" if link else ""
        return self._files_from or ""


def _with_secure_cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, with every cookie marked `Secure`. Chainlit marks its own only if `SameSite` is `none`."""
    return [
        (name, value + b"; Secure" if name.lower() == b"set-cookie" and not _SECURE.search(value) else value)
        for name, value in headers
    ]


def page_policy(page: bytes, host: str, *, files_from: str = "", custom_elements: bool = False) -> str:
    """The Content-Security-Policy of Chainlit's page.

    Args:
        page: the HTML; its inline scripts are allowed by their hashes.
        host: the Host header; some browsers do not count websockets of this host as 'self'.
        files_from: the origin of the file store, for images, sound, video and PDF; "" without one.
        custom_elements: whether the page compiles the operator's scripts, which needs 'unsafe-eval'.
    """
    policy = dict(_PAGE_POLICY)
    if files_from:
        for directive in ("img-src", "media-src", "frame-src"):
            policy[directive] += f" {files_from}"
    if custom_elements:
        policy["script-src"] += " 'unsafe-eval'"
    for script in _INLINE_SCRIPT.findall(page):
        policy["script-src"] += f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    if _HOST.fullmatch(host):
        policy["connect-src"] += f" ws://{host} wss://{host}"
    return "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
