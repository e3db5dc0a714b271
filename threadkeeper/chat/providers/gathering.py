"""Lets the tokens of a stream gather in the socket, where they cost nothing, instead of waking the process for each.

The socket itself is not read for a moment. If only the reader waited, aiohttp would receive the tokens, and when the
connection breaks it raises its error before it gives back what it has received.
"""

import asyncio

import aiohttp
import httpx2


async def gather_in_socket(response: httpx2.Response, seconds: float) -> None:
    """Do not read the connection of a streamed response for this time. Returns at once if all of it has arrived."""
    transport = _transport_of(response)
    if transport is None or transport.is_closing():
        return
    transport.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


def _transport_of(response: httpx2.Response) -> asyncio.Transport | None:
    """The connection on which the response still arrives; None if it is complete, or not known.

    The openai package has no public way from a response to its connection. If a new version has another one, tokens
    are read one by one again; `test_gathering.py` fails then.
    """
    stream = getattr(response.stream, "_stream", None)
    answer = getattr(stream, "_aiohttp_response", None)
    connection = answer.connection if isinstance(answer, aiohttp.ClientResponse) else None
    return connection.transport if connection is not None else None
