"""A model server that needs almost no CPU: 200 tokens per answer, each at a fixed time, without parsing requests.

It implements the part of OpenAI's protocol that the load needs. `tests/support/model_server.py` implements more, and
takes a third of a core for a hundred concurrent answers; on two cores, the measured server would lack that time.
`python -m benchmarks.token_server` prints its address.
"""

import argparse
import asyncio
import contextlib
import json
from typing import cast

import uvloop

TOKENS = 200
TOKENS_A_SECOND = 50
ANSWER = "".join(f"word-{number} " for number in range(1, TOKENS + 1))

_FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tokens"}
_USAGE = {"prompt_tokens": 20, "completion_tokens": TOKENS, "total_tokens": TOKENS + 20}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(payload: str) -> bytes:
    data = f"data: {payload}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _chunk(content: str | None, finish_reason: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(json.dumps({**_FRAME, "choices": [choice]}))


_TOKENS = [_chunk(f"word-{number} ") for number in range(1, TOKENS + 1)]
_END = _chunk(None, "stop") + _event(json.dumps({**_FRAME, "choices": [], "usage": _USAGE})) + _event("[DONE]")
_WHOLE = {"index": 0, "message": {"role": "assistant", "content": "Counting"}, "finish_reason": "stop"}
_BODY = json.dumps({**_FRAME, "object": "chat.completion", "choices": [_WHOLE], "usage": _USAGE}).encode()
_TITLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not lengths or len(body) < int(lengths[0].partition(b":")[2]):
            return
        self._received = b""
        if json.loads(body).get("stream"):
            self._transport.write(_HEAD)
            self._send(0, self._loop.time())
        else:
            self._transport.write(_TITLE)

    def _send(self, number: int, begun: float) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_TOKENS[number])
        if number + 1 < TOKENS:
            # By the clock, because errors of pauses would add up.
            self._loop.call_at(begun + (number + 1) / TOKENS_A_SECOND, self._send, number + 1, begun)
        else:
            self._transport.write(_END + b"0\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Streams the same 200 tokens to every client.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; the URL is printed")
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(parser.parse_args().port))
