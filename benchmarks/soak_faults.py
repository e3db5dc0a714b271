"""The faults of the soak, each with the errors in the log of a replica that belong to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.faulty_network import FaultyNetwork
from tests.support.model_server import ModelServer, Recorded, Reply
from tests.support.postgres import Cluster
from tests.support.server import AppServer

_SECONDS_BETWEEN = 0.04
_SLOW_SECONDS_BETWEEN = 0.5

_STORE_AWAY = (
    r"StorageUnavailable|cannot be reached|is not stored|not reachable|could not look up|could not be stored|"
    r"could not record|failed: |write failed|connection|database"
)


class SoakModel(ModelServer):
    """Answers with the question, some words a second. `mode` is `"429"` or `"slow"` during a fault."""

    mode = ""

    def _refusal(self, recorded: Recorded) -> web.Response | None:
        if self.mode == "429":
            body = {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for requests."}}
            return web.json_response(body, status=429, headers={"Retry-After": "1"})
        return super()._refusal(recorded)

    def _reply(self, recorded: Recorded) -> Reply:
        reply = super()._reply(recorded)
        reply.seconds_between = _SLOW_SECONDS_BETWEEN if self.mode == "slow" else _SECONDS_BETWEEN
        return reply

    def _bill(self, recorded: Recorded, billed: Any) -> Any:
        # It serves for hours, and nobody reads what was asked.
        self.requests.clear()
        self.ledger.clear()
        return super()._bill(recorded, billed)


@dataclass(frozen=True)
class Fault:
    """What begins and ends a fault.

    Attributes:
        seconds: between begin and end.
        expected: matches the errors in the logs that belong to it.
    """

    name: str
    seconds: float
    begin: Callable[[], Awaitable[object]]
    end: Callable[[], Awaitable[object]]
    expected: re.Pattern[str]


@dataclass
class Happened:
    """A fault with its times, in seconds since 1970."""

    fault: Fault
    begun: float
    ended: float = 0.0


@dataclass
class Places:
    """What can fail."""

    cluster: Cluster
    killed: AppServer
    model: SoakModel
    model_network: FaultyNetwork
    files_network: FaultyNetwork
    people_network: FaultyNetwork
    happened: list[Happened] = field(default_factory=list)

    def faults(self) -> list[Fault]:
        """All of them, in an order in which two of a kind do not follow each other."""
        return [
            Fault("replica killed", 2, self.killed.kill, self.killed.start, re.compile(_NOTHING)),
            Fault("model refuses (429)", 10, self._mode("429"), self._mode(""), re.compile(_NOTHING)),
            Fault("database restarted", 3, self._halt, self._resume, re.compile(_STORE_AWAY)),
            Fault("model away", 8, self.model_network.go_down, self.model_network.come_up, re.compile(_NOTHING)),
            Fault(
                "files away",
                8,
                self.files_network.go_down,
                self.files_network.come_up,
                re.compile(r"Blob|blob|file|element|S3|s3|bucket"),
            ),
            Fault("model slow", 10, self._mode("slow"), self._mode(""), re.compile(_NOTHING)),
            Fault("network cut", 3, self.people_network.go_down, self.people_network.come_up, re.compile(_NOTHING)),
        ]

    async def _halt(self) -> None:
        await asyncio.to_thread(self.cluster.halt)

    async def _resume(self) -> None:
        await asyncio.to_thread(self.cluster.resume)

    def _mode(self, mode: str) -> Callable[[], Awaitable[object]]:
        async def set_mode() -> None:
            self.model.mode = mode

        return set_mode


_NOTHING = r"(?!)"


@asynccontextmanager
async def network_to(port: int) -> AsyncIterator[FaultyNetwork]:
    """A connection to this port that can fail."""
    async with FaultyNetwork(port) as network:
        yield network
