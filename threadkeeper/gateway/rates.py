"""What is left of the rate of a key, as headers of its answers."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from threadkeeper.web.auth.keys import rate_headers, rate_of


def with_rate(response: Response, connection: HTTPConnection) -> Response:
    """The response with the headers `RateLimit` and `RateLimit-Policy`, if the requests of the key are limited.

    They take the place of those of a provider, whose limit is that of its own key.
    """
    rate = rate_of(connection)
    return response if rate is None else _Rated(response, rate_headers(rate))


class _Rated(Response):
    def __init__(self, response: Response, headers: dict[str, str]) -> None:
        self._response = response
        self._own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in self._own}

        async def rated(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [one for one in message["headers"] if one[0].lower() not in names]
                message = {**message, "headers": [*others, *self._own]}
            await send(message)

        await self._response(scope, receive, rated)
