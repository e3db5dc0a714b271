"""One running application for all tests of a module, where none of them kills, restarts or reconfigures it.

The tests stay independent of each other: each has users of its own, and so threads, files and logins of its own.
A server that does not answer any more is replaced by a new one before the next test, so that only the test that broke
it fails.
"""

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.support.chat_client import ChatClient
from tests.support.loop_thread import LoopThread
from tests.support.model_server import API_KEY, ModelServer
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import AppServer

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer

PASSWORD = "correct horse battery"
_ANSWER_SECONDS = 30


def model_settings(model_server: ModelServer) -> dict[str, str]:
    """The settings of an application that talks to this model server and asks it once."""
    return {"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": model_server.base_url, "OPENAI_MAX_RETRIES": "0"}


@dataclass
class Chat:
    """The shared server as one test sees it: with users of its own, and with what was said and asked since it began."""

    server: AppServer
    model_server: ModelServer
    engine: str
    _mark: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        self._log_begin = len(self.server.log)
        self.model_server.forget()

    @property
    def base_url(self) -> str:
        return self.server.base_url

    @property
    def log(self) -> str:
        """What the server has logged since this test began."""
        return self.server.log[self._log_begin :]

    def name(self, name: str) -> str:
        """The identifier of this test's user of that name."""
        return f"{name}-{self._mark}"

    async def add_user(self, name: str, role: str = "user") -> str:
        """The id of a new account."""
        return await self.server.add_user(self.name(name), PASSWORD, role)

    def client(
        self, name: str, password: str = PASSWORD, *, thread_id: str | None = None, language: str = "en-US"
    ) -> ChatClient:
        """A tab of this test's user of that name."""
        return ChatClient(self.base_url, self.name(name), password, thread_id=thread_id, language=language)

    @asynccontextmanager
    async def layer(self) -> "AsyncIterator[ChainlitLayer]":
        """A data layer of the test's own on the server's database and files."""
        async with self.server.layer() as layer:
            yield layer


class SharedServer:
    """The server and its scripted model, on a loop of their own; started when the first test asks for it."""

    def __init__(
        self, folder: Path, engine: str, new_database_url: Callable[[], str], environment: Mapping[str, str]
    ) -> None:
        """`new_database_url` gives the URL of an empty database each time it is called."""
        self.engine = engine
        self._folder, self._new_database_url, self._environment = folder, new_database_url, environment
        self._numbers = itertools.count()
        self._server: AppServer | None = None

    @contextmanager
    def running(self) -> Iterator["SharedServer"]:
        """Within the block tests may ask for it."""
        with LoopThread("shared-server") as self._loop:
            self._model_server = ModelServer()
            self._loop.run(self._model_server.__aenter__())
            try:
                yield self
            finally:
                self._end()
                self._loop.run(self._model_server.__aexit__(None, None, None))

    def chat(self) -> Chat:
        """The server for the next test, a new one where the last does not answer."""
        if self._server is None or not self._answers(self._server):
            self._end()
            settings = {**model_settings(self._model_server), **self._environment}
            folder = self._folder / f"server-{next(self._numbers)}"
            server = AppServer(folder, self._new_database_url(), settings)
            self._loop.run(server.__aenter__())
            self._server = server
        return Chat(self._server, self._model_server, self.engine)

    def _end(self) -> None:
        if self._server is not None:
            self._loop.run(self._server.end_by_force())
            self._server = None

    @staticmethod
    def _answers(server: AppServer) -> bool:
        if not server.is_running:
            return False
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{server.base_url}/ready", timeout=_ANSWER_SECONDS, **PLAIN_HTTP)
            return answer.status_code == httpx.codes.OK
        return False
