"""Programs that speak to `/v1` of an application over real HTTP."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from datalayer import CallFilter, User
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import LlmCall
from tests.support.model_server import ModelServer
from tests.support.patience import until
from threadkeeper.gateway.v1.servers import ModelServer as Server
from threadkeeper.gateway.v1.servers import ModelServers

SECRET = "sk-of-the-operator-0123456789"


@dataclass
class V1Rig:
    """An application whose chat has the scripted server."""

    layer: ChainlitLayer
    model_server: ModelServer
    client: httpx.AsyncClient
    people: dict[str, User]
    opened: AsyncExitStack

    async def secret(self, *scopes: Any, **fields: Any) -> str:
        return (await self.layer.create_api_key("tests", scopes or ["gateway"], user="uma", **fields))[1]

    async def client_of(self, *scopes: Any, **fields: Any) -> openai.AsyncOpenAI:
        """The official client: its base URL and its key are all that is changed."""
        return self.client_with(await self.secret(*scopes, **fields))

    def client_with(self, secret: str) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            api_key=secret,
            base_url=f"{self.client.base_url}/v1",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )
        self.opened.push_async_callback(client.close)
        return client

    async def calls(self, count: int) -> list[LlmCall]:
        """All calls, oldest first, when so many have ended."""

        async def ended() -> list[LlmCall]:
            rows = (await self.layer.list_calls(CallFilter(), descending=False)).rows
            return [row.call for row in rows if row.call.finish_reason != "in_progress"]

        async def enough() -> bool:
            return len(await ended()) >= count

        await until(enough)
        return await ended()


def scripted(model_server: ModelServer, *models: str) -> ModelServers:
    """The scripted server as that of the chat, with these models, and as the one that embeds."""
    base_url = model_server.base_url
    return ModelServers(Server(base_url, models, SECRET), Server(base_url, ("words",), SECRET))
