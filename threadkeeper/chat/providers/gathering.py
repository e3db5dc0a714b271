"""Lets the tokens of a stream gather between two reads, and gives out all of them when the connection breaks.

They gather in the socket, which is not read for a moment. With TLS they gather in aiohttp's buffer: when the connection
breaks, asyncio drops what it has decrypted and not handed over.

When a connection breaks, aiohttp raises its error on the next read and keeps to itself what it has received until then:
all tokens that came while the reader was busy, or more than one read takes. It has no public way to them.

Beyond its limit of unread bytes, aiohttp stops its parser, and loses what it has received and not parsed when the
connection breaks. So the limit is far above what comes while somebody is busy. A socket that is not read takes at least
128 kB; a server that resets the connection takes back what it could not send beyond that.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import httpx2

# aiohttp stops at twice this. Beyond that, the rest waits in the socket, but with TLS it is lost with the connection.
_UNREAD_BYTES = 8_000_000


def keep_received(response: httpx2.Response) -> None:
    """From now on, reading this streamed response gives all that has arrived, and only then the error."""
    answer = _answer_of(response)
    if answer is not None:
        answer.content.set_read_chunk_size(_UNREAD_BYTES)
        response.stream = _ReceivedStream(response.stream, answer)


async def gather(response: httpx2.Response, seconds: float) -> None:
    """Read nothing of a streamed response for this time. Returns at once if all of it has arrived."""
    answer = _answer_of(response)
    connection = answer.connection if answer is not None else None
    transport = connection.transport if connection is not None else None
    if transport is None or transport.is_closing():
        return
    if transport.get_extra_info("ssl_object") is not None or not transport.is_reading():
        # If aiohttp has paused the transport, it resumes it when this stream is read.
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
        content = self.answer.content
        try:
            async for block in self._stream:
                # A block has at most 16 kB: a pause after each would hold a fast server up.
                yield block + content._read_nowait(-1)
        except (httpx2.RequestError, aiohttp.ClientError, TimeoutError):
            if rest := content._read_nowait(-1):
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
