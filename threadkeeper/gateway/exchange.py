"""One exchange: the request goes to the provider, the response comes back chunk by chunk, and a copy is read beside it.

Whoever goes away first ends it for the other: if the caller leaves, the connection to the provider is closed; if the
provider breaks off, so does the connection to the caller. The row of the call is written in any case.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import aiohttp
from aiohttp import ClientResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from yarl import URL

from threadkeeper.gateway.answers import answer_of
from threadkeeper.gateway.bodies import RequestBody
from threadkeeper.gateway.calls import CallBook, GatewayCall
from threadkeeper.gateway.changes import NO_CHANGES, Changes, Rewriter
from threadkeeper.gateway.copies import Copy, decoded
from threadkeeper.gateway.endpoints import Endpoint
from threadkeeper.gateway.headers import response_headers
from threadkeeper.gateway.refusals import Refused, refusal, unforeseen
from threadkeeper.gateway.upstream import Upstream
from threadkeeper.gateway.usage_frames import UsageFrames

logger = logging.getLogger(__name__)

_NOT_MODIFIED = 304
_BAD_REQUESTS = (400, 422)
_LONGEST_REFUSAL = 64 * 1024
_OF_A_BODY = (b"content-type", b"content-encoding", b"content-length")


@dataclass(slots=True)
class Sending:
    """A request for a provider.

    `headers` makes its headers, while the first row of the call is stored. `body` is the whole body, or None if
    `upload` streams it. `original` is the body without the question for usage; None if the gateway did not add it.
    `again` gives another body, and its original, for the words of a refusal; None if the refusal is final.
    """

    method: str
    url: URL
    headers: Callable[[], list[tuple[str, str]]]
    endpoint: Endpoint
    body: bytes | None
    upload: RequestBody
    original: bytes | None = None
    refuses_usage: Callable[[], None] = lambda: None
    changes: Changes = NO_CHANGES
    again: Callable[[bytes], tuple[bytes, bytes | None] | None] | None = None


class Exchange(Response):
    """The response of the gateway's route."""

    def __init__(self, sending: Sending, call: GatewayCall, book: CallBook, upstream: Upstream) -> None:
        super().__init__()
        self._sending, self._call, self._book, self._upstream = sending, call, book, upstream
        self._response: ClientResponse | None = None
        self._has_begun = self._is_gone = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        gone = asyncio.create_task(self._cancel_when_gone(task, receive))
        try:
            await self._pass(send)
        except asyncio.CancelledError:
            self._call.stopped = True
            # Another cancellation is of the server, which ends.
            if not self._is_gone or task.uncancel():
                raise
        finally:
            gone.cancel()
            if self._response is not None:
                self._response.close()
            self._book.end(self._call)

    async def _cancel_when_gone(self, task: asyncio.Task[Any], receive: Receive) -> None:
        await self._sending.upload.is_complete.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        task.cancel()

    async def _pass(self, send: Send) -> None:
        try:
            await self._pass_response(send)
        except Refused as refused:
            if self._sending.upload.has_left:
                self._call.stopped = True
                return
            problem = self._sending.upload.problem or refused
            await self._refuse(problem, send)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # If the response has begun, its end is missing on purpose: the caller must see that it is not whole.
            kind = "timeout" if isinstance(error, TimeoutError) else "cut"
            sentence = f"the provider broke off: {type(error).__name__}: {error}"
            await self._refuse(Refused(502, kind, sentence), send)
        except Exception:
            logger.exception("a call fails", extra={"call_id": self._call.row.id})
            await self._refuse(unforeseen(), send)

    async def _refuse(self, refused: Refused, send: Send) -> None:
        self._call.fail(refused.kind, refused.sentence)
        if not self._has_begun:
            await refusal(refused, self._sending.endpoint.dialect)(_NO_SCOPE, _no_receive, send)

    async def _pass_response(self, send: Send) -> None:
        call, sending = self._call, self._sending
        # The first row of the call leaves for the database before the request is made.
        await asyncio.sleep(0)
        answer = answer_of(sending.endpoint.dialect)
        response, beginning = await self._ask()
        call.status = response.status
        if 300 <= response.status < 400 and response.status != _NOT_MODIFIED:
            raise Refused(502, "redirected", f"{sending.url.host} answered with a redirect, which is not followed.")
        encoding = response.headers.get("content-encoding", "")
        kind = response.headers.get("content-type", "")
        call.copy = Copy(answer, status=response.status, content_type=kind, content_encoding=encoding)
        # A form does not always say so where it is read.
        is_stream = kind.lower().startswith("text/event-stream")
        if is_stream and not call.row.is_streaming:
            call.row = replace(call.row, is_streaming=True)
        if response.status >= 400 and await self._pass_refusal(response, beginning, encoding, send):
            return
        rewriters = self._rewriters(kind, encoding) if response.status < 400 else ()
        headers = response_headers(response.raw_headers, keeps_length=not rewriters)
        if response.status < 400:
            headers += sending.changes.headers
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        self._has_begun = True
        if beginning:
            await self._pass_chunk(beginning, rewriters, send)
        rest = b""
        async for chunk in response.content.iter_any():
            if response.content.at_eof() and not rewriters and call.on_end is None:
                # It is the last one: it goes with the end, as one message.
                rest = await self._copied(chunk)
                break
            await self._pass_chunk(chunk, rewriters, send)
        for rewriter in rewriters:
            rest = (rewriter.feed(rest) if rest else b"") + rewriter.finish()
        if call.on_end is not None:
            await self._book.settle(call)
        await send({"type": "http.response.body", "body": rest, "more_body": False})

    def _rewriters(self, kind: str, encoding: str) -> Sequence[Rewriter]:
        """What changes the body of the answer, in this order."""
        if encoding.lower() not in ("", "identity"):
            return ()
        is_stream = kind.lower().startswith("text/event-stream")
        takes_out = self._sending.original is not None and is_stream
        own = self._sending.changes.rewriter(kind)
        return [*([UsageFrames()] if takes_out else []), *([own] if own is not None else [])]

    async def _pass_refusal(self, response: ClientResponse, beginning: bytes, encoding: str, send: Send) -> bool:
        """Pass a refusal of the provider on in other words, if it gets some; a long one stays as it is."""
        changes, call = self._sending.changes, self._call
        if changes is NO_CHANGES:
            return False
        body = beginning
        while len(body) < _LONGEST_REFUSAL and (piece := await response.content.readany()):
            body += piece
        assert call.copy is not None
        await call.copy.take(body)
        plain = decoded(body, encoding)
        status, said = changes.refusal(response.status, b"" if plain is None else plain) or (response.status, None)
        said = call.masked(said.decode()).encode() if said is not None else None
        kept = [(name, value) for name, value in response.raw_headers if name.lower() not in _OF_A_BODY]
        headers = response_headers(response.raw_headers if said is None else kept, keeps_length=False)
        if said is not None:
            headers.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        self._has_begun = True
        await send({"type": "http.response.body", "body": body if said is None else said, "more_body": False})
        return True

    async def _pass_chunk(self, chunk: bytes, rewriters: Sequence[Rewriter], send: Send) -> None:
        chunk = await self._copied(chunk)
        for rewriter in rewriters:
            chunk = rewriter.feed(chunk)
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _copied(self, chunk: bytes) -> bytes:
        call = self._call
        if call.first is None:
            call.first = time.perf_counter()
        if call.copy is not None:
            await call.copy.take(chunk)
        return chunk

    async def _ask(self) -> tuple[ClientResponse, bytes]:
        """The response, and the part of its body that was read already.

        A provider that refuses our question for usage gets the caller's own request.
        """
        sending = self._sending
        body = (
            sending.body if sending.body is not None else None if sending.upload.is_empty else sending.upload.stream()
        )
        response = await self._send(body)
        while response.status in _BAD_REQUESTS and (sending.original is not None or sending.again is not None):
            said = b""
            other: tuple[bytes | None, bytes | None] | None = None
            while len(said) < _LONGEST_REFUSAL and (piece := await response.content.readany()):
                said += piece
            plain = decoded(said, response.headers.get("content-encoding", "")) or b""
            is_usage = sending.original is not None and (b"stream_options" in plain or b"include_usage" in plain)
            if is_usage:
                other = sending.original, None
            elif sending.again is not None:
                other = sending.again(plain)
            if other is None:
                return response, said
            again, sending.original = other
            assert again is not None
            response.close()
            response = await self._send(again)
            if is_usage and response.status < 400:
                # Words of the caller in a refusal prove nothing; an answer without the question does.
                logger.warning("%s refuses stream_options; calls of this model are sent without", sending.url.host)
                sending.refuses_usage()
        return response, b""

    async def _send(self, body: bytes | AsyncIterator[bytes] | None) -> ClientResponse:
        sending = self._sending
        self._response = response = await self._upstream.ask(
            sending.method, sending.url, sending.headers(), body, partial(self._book.begun, self._call)
        )
        return response


_NO_SCOPE: Scope = {"type": "http"}


async def _no_receive() -> dict[str, str]:
    return {"type": "http.disconnect"}
