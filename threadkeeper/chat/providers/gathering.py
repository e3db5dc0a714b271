"""Lets the tokens of a stream gather between two reads, and gives out all of them when the connection breaks.

They gather in the socket, which is not read for a moment. With TLS they gather in aiohttp's buffer: when the connection
breaks, asyncio drops what it has decrypted and not handed over.

When a connection breaks, aiohttp raises its error on the next read and keeps to itself what it has received until then:
all tokens that came while the reader was busy, or more than one read takes. It has no public way to them.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import httpx2


def keep_received(response: httpx2.Response) -> None:
    """From now on, reading this streamed response gives all that has arrived, and only then the error."""
    answer = _answer_of(response)
    if answer is not None:
        response.stream = _ReceivedStream(response.stream, answer)


async def gather(response: httpx2.Response, seconds: float) -> None:
    """Read nothing of a streamed response for this time. Returns at once if all of it has arrived."""
    answer = _answer_of(response)
    connection = answer.connection if answer is not None else None
    transport = connection.transport if connection is not None else None
    if transport is None or transport.is_closing():
        return
    if transport.get_extra_info("ssl_object") is not None:
        await asyncio.sleep(seconds)
        return
    transport.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


class _ReceivedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: object, answer: aiohttp.ClientResponse) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream, self.answer = stream, answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for block in self._stream:
                yield block
        except (httpx2.RequestError, aiohttp.ClientError, TimeoutError):
            if rest := self.answer.content._read_nowait(-1):
                yield rest
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


def _answer_of(response: httpx2.Response) -> aiohttp.ClientResponse | None:
    """The response of aiohttp beneath; None if it is not known.

    The openai package has no public way to it. If a new version has another one, tokens are read one by one again, and
    some can be lost with the connection; `test_gathering.py` fails then.
    """
    if isinstance(response.stream, _ReceivedStream):
        return response.stream.answer
    answer = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    return answer if isinstance(answer, aiohttp.ClientResponse) else None
