"""A client of DynamoDB with the faults of the service that no stand-in has."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from datalayer.dynamodb import client
from datalayer.dynamodb.client import Table

Fault = Callable[[dict[str, Any]], Awaitable[Any]]


class FaultyClient:
    """Counts the calls of a client, and gives some of them to a fault in its place."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)

        async def call(**arguments: Any) -> Any:
            self.calls[name] += 1
            waiting = self.faults.get(name)
            return await (waiting.pop(0)(arguments) if waiting else method(**arguments))

        return call

    def refuse(self, name: str, code: str, times: int = 1, reasons: tuple[str, ...] = ()) -> None:
        """The next calls of this name are refused with this code, before they are carried out."""
        response: Any = {"Error": {"Code": code}, "CancellationReasons": [{"Code": reason} for reason in reasons]}

        async def fault(_arguments: dict[str, Any]) -> Any:
            raise ClientError(response, name)

        self.faults.setdefault(name, []).extend([fault] * times)

    def lose_answers(self, name: str, times: int = 1) -> None:
        """The next calls of this name are carried out, and their answers are lost."""

        async def fault(arguments: dict[str, Any]) -> Any:
            await getattr(self.real, name)(**arguments)
            raise EndpointConnectionError(endpoint_url="http://lost")

        self.faults.setdefault(name, []).extend([fault] * times)

    def hold(self, name: str, until: asyncio.Event) -> None:
        """The next call of this name is carried out after this event."""

        async def fault(arguments: dict[str, Any]) -> Any:
            await until.wait()
            return await getattr(self.real, name)(**arguments)

        self.faults.setdefault(name, []).append(fault)

    def slow_down(self, name: str) -> None:
        """The next call of this name is carried out when the event loop has had many turns."""

        async def fault(arguments: dict[str, Any]) -> Any:
            for _ in range(5_000):
                await asyncio.sleep(0)
            return await getattr(self.real, name)(**arguments)

        self.faults.setdefault(name, []).append(fault)

    def give_back(self, name: str, times: int = 1) -> None:
        """Of the next batches of this name, all but the first item are given back."""

        async def fault(arguments: dict[str, Any]) -> Any:
            ((table, wanted),) = arguments["RequestItems"].items()
            if name == "batch_get_item":
                rest = {table: {**wanted, "Keys": wanted["Keys"][1:]}}
                some = {table: {**wanted, "Keys": wanted["Keys"][:1]}}
                return {**await self.real.batch_get_item(RequestItems=some), "UnprocessedKeys": rest}
            await self.real.batch_write_item(RequestItems={table: wanted[:1]})
            return {"UnprocessedItems": {table: wanted[1:]} if wanted[1:] else {}}

        self.faults.setdefault(name, []).extend([fault] * times)

    def freeze_index(self) -> None:
        """From now on, the index gives what it gave first for each query."""
        known: dict[str, Any] = {}

        async def frozen(**arguments: Any) -> Any:
            self.calls["query"] += 1
            if "IndexName" not in arguments:
                return await self.real.query(**arguments)
            place = str((arguments["ExpressionAttributeValues"], arguments.get("ExclusiveStartKey")))
            if place not in known:
                known[place] = await self.real.query(**arguments)
            return known[place]

        self.query = frozen


@contextmanager
def faulty(table: Table) -> Iterator[FaultyClient]:
    """The table's client with faults, and with short pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "FIRST_PAUSE_SECONDS", 0.001)
        patch.setattr(client, "LONGEST_PAUSE_SECONDS", 0.01)
        connected = table._connected

        async def with_faults() -> Any:
            faults.real = await connected()
            return faults

        faults = FaultyClient(None)
        patch.setattr(table, "_connected", with_faults)
        yield faults
