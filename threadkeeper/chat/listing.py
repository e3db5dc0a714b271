"""Asks all configured model servers at once which models they offer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from threadkeeper.chat.providers import provider_name
from threadkeeper.chat.providers.listing import Failure, ListFailed, ModelListServer, load, models_of

LIST_SECONDS = 3.0
"""How long a server may take, so that a page that shows the lists is not kept for long."""


@dataclass(frozen=True, slots=True)
class ListedServer:
    """A server, what it is configured for, and its address for people, without secrets."""

    use: Literal["chat", "embedding"]
    server: ModelListServer
    address: str


@dataclass(frozen=True, slots=True)
class ServerList:
    """What a server has answered, within `seconds`; or the kind of its failure, and its words.

    `has_deployments`: it is Azure, whose list has no deployments, which are the models there.
    """

    use: Literal["chat", "embedding"]
    provider: str
    address: str
    seconds: float
    models: tuple[str, ...] = ()
    problem: Failure | None = None
    words: str = ""
    has_deployments: bool = False


class ModelLists:
    """The lists of these servers. `redact` takes secrets out of their words."""

    def __init__(
        self,
        servers: Sequence[ListedServer],
        *,
        redact: Callable[[str], str] = lambda text: text,
        seconds: float = LIST_SECONDS,
    ) -> None:
        self._servers, self._redact, self._seconds = servers, redact, seconds

    async def __call__(self) -> list[ServerList]:
        """What each server offers now, in their order. A failure is part of the result."""
        # Other requests go on meanwhile, and it is not the time of the servers.
        await asyncio.to_thread(load)
        return list(await asyncio.gather(*map(self._ask, self._servers)))

    async def _ask(self, one: ListedServer) -> ServerList:
        began, name = time.perf_counter(), provider_name(one.server.base_url)
        models: tuple[str, ...] = ()
        problem: Failure | None = None
        words = ""
        try:
            async with asyncio.timeout(self._seconds):
                models = await models_of(one.server, self._seconds)
        except TimeoutError:
            problem, words = "timeout", f"no answer within {self._seconds:g} s"
        except ListFailed as failed:
            problem, words = failed.kind, failed.words
        seconds = time.perf_counter() - began
        is_azure = one.server.azure_version is not None
        return ServerList(one.use, name, one.address, seconds, models, problem, self._redact(words), is_azure)
