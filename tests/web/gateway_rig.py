"""What the tests of the gateway share: an application, a project with providers of every dialect, and a key for it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai

from datalayer import CallFilter, Project
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import LlmCall, LlmCallPayload
from tests.support.model_server import ModelServer
from tests.support.patience import until

SECRET = "sk-provider-0123456789abcdef"
WORDS = "alpha beta gamma"
"""Three tokens for the scripted server, which answers with two more."""


@dataclass
class Rig:
    """An application, a project `lab` with providers of every dialect, and a key of uma for it."""

    layer: ChainlitLayer
    model_server: ModelServer
    client: httpx.AsyncClient
    secret: str
    project: Project
    opened: AsyncExitStack

    def url(self, provider: str, path: str = "") -> str:
        return f"{self.client.base_url}/gateway/lab/{provider}/{path}"

    def openai(self, provider: str = "openai", secret: str | None = None, **options: Any) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            api_key=secret or self.secret,
            base_url=self.url(provider).rstrip("/"),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
            **options,
        )
        self.opened.push_async_callback(client.close)
        return client

    async def post(self, path: str, body: Any, provider: str = "openai", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.secret}", **{name.replace("_", "-"): headers[name] for name in headers}}
        return await self.client.post(self.url(provider, path), json=body, headers=sent)

    async def calls(self, count: int = 1) -> list[LlmCall]:
        """The newest calls, oldest first, when so many have ended."""

        async def ended() -> list[LlmCall]:
            rows = (await self.layer.list_calls(CallFilter(), descending=False)).rows
            return [row.call for row in rows if row.call.finish_reason != "in_progress"]

        await until(lambda: _has(ended, count))
        return (await ended())[-count:]

    async def call(self) -> LlmCall:
        return (await self.calls())[-1]

    async def payload(self, call: LlmCall) -> LlmCallPayload:
        found = await self.layer.get_call(call.id)
        assert found is not None
        assert found[1] is not None
        return found[1]


async def _has(ended: Callable[[], Awaitable[list[LlmCall]]], count: int) -> bool:
    return len(await ended()) >= count


async def text_of(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


def chat(model: str = "echo", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": WORDS}], **more}


async def raw_request(rig: Rig, method: str, address: str, body: bytes = b"", kind: str = "text/plain") -> bytes:
    """Sends these bytes and returns those that come back: no client changes the address."""
    place = urlsplit(str(rig.client.base_url))
    head = f"{method} {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.secret}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection(place.hostname, place.port, family=socket.AF_INET)
    writer.write(f"{head}\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
