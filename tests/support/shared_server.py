"""One running application for all tests of a module, if none of them kills, restarts or reconfigures it.

The tests are independent: each has its own users, and therefore its own threads, files and logins. A server that no
longer answers is replaced before the next test, so that only the test that broke it fails.
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
    """Settings of an application that uses this model server without retries."""
    return {"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": model_server.base_url, "OPENAI_MAX_RETRIES": "0"}


@dataclass
class Chat:
    """The shared server for one test: its users, and the log and the model requests since the start of the test."""

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
        """The log of the server since the start of this test."""
        return self.server.log[self._log_begin :]

    def name(self, name: str) -> str:
        """The identifier of the user with this name in this test."""
        return f"{name}-{self._mark}"

    async def add_user(self, name: str, role: str = "user") -> str:
        """Add an account. Returns its id."""
        return await self.server.add_user(self.name(name), PASSWORD, role)

    def client(
        self,
        name: str,
        password: str = PASSWORD,
        *,
        thread_id: str | None = None,
        language: str = "en-US",
        profile: str = "",
    ) -> ChatClient:
        """A tab of the user with this name in this test."""
        identifier = self.name(name)
        return ChatClient(self.base_url, identifier, password, thread_id=thread_id, language=language, profile=profile)

    @asynccontextmanager
    async def layer(self) -> "AsyncIterator[ChainlitLayer]":
        """A separate data layer on the server's database and files."""
        async with self.server.layer() as layer:
            yield layer


class SharedServer:
    """The server and its scripted model, on their own event loop. The first test that uses them starts them."""

    def __init__(
        self, folder: Path, engine: str, new_database_url: Callable[[], str], environment: Mapping[str, str]
    ) -> None:
        """`new_database_url` returns the URL of a new database without rows at each call."""
        self.engine = engine
        self._folder, self._new_database_url, self._environment = folder, new_database_url, environment
        self._numbers = itertools.count()
        self._server: AppServer | None = None

    @contextmanager
    def running(self) -> Iterator["SharedServer"]:
        """Within the block, tests can use the server."""
        with LoopThread("shared-server") as self._loop:
            self._model_server = ModelServer()
            self._loop.run(self._model_server.__aenter__())
            try:
                yield self
            finally:
                self._end()
                self._loop.run(self._model_server.__aexit__(None, None, None))

    def chat(self) -> Chat:
        """The server for the next test; a new one if the current one does not answer."""
        if self._server is None or not self._answers(self._server):
            self._end()
            settings = {**model_settings(self._model_server), **self._environment}
            folder = self._folder / f"server-{next(self._numbers)}"
            server = AppServer(folder, self._new_database_url(), settings, program=None)
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
