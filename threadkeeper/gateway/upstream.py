"""The connections to providers: one pool of the process, without cookies, redirects or decompression."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from threadkeeper.gateway.refusals import Refused

_CONNECT_SECONDS = 15.0
# aiohttp adds these if they are not in a request, unless it is told not to.
_AUTOMATIC = ("user-agent", "accept", "accept-encoding", "content-type")
# A header of several kilobytes is a mistake at most; providers send long ones for their own tracing.
_LONGEST_HEADER = 64 * 1024


class Upstream:
    """Sends requests to providers. Opens no connection before the first one."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: the longest wait for the first byte, and between two."""
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        url: URL,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] | None,
        ready: Callable[[], Awaitable[None]],
    ) -> ClientResponse:
        """The response, of which the body is not read yet.

        Args:
            ready: what to wait for when the request is made, before its first byte is sent.

        Raises:
            Refused: the provider cannot be reached, or does not answer in time, or not with HTTP.
        """

        async def when_ready(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            await ready()
            return await send(request)

        try:
            return await self._open().request(
                method,
                url,
                headers=headers,
                data=body,
                skip_auto_headers=_missing(headers),
                allow_redirects=False,
                middlewares=(when_ready,),
            )
        except aiohttp.ConnectionTimeoutError:
            raise Refused(504, "timeout", f"There was no connection to {url.host} in time.") from None
        except (aiohttp.ServerTimeoutError, TimeoutError):
            sentence = f"{url.host} did not answer within {self._seconds:g} seconds."
            raise Refused(504, "timeout", sentence) from None
        except aiohttp.ClientResponseError as error:
            raise Refused(502, "unreadable", f"The answer of {url.host} is not valid HTTP.") from error
        except (aiohttp.ClientError, ValueError, OSError) as error:
            sentence = f"{url.host} cannot be reached: {type(error).__name__}."
            raise Refused(502, "unreachable", sentence) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, loop=asyncio.get_running_loop()),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._seconds),
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
        return self._session


def _missing(headers: list[tuple[str, str]]) -> list[str] | None:
    """The automatic headers that are not in a request; mostly none."""
    names = {name for name, _ in headers}
    return [name for name in _AUTOMATIC if name not in names] or None
