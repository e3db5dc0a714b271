"""Calls to one DynamoDB table: retried with jitter, complete, and with the errors of this library.

boto repeats a refused request, but not the part of a batch that DynamoDB gave back, and not a transaction that met
another one. Here one rule serves all of them: a random pause below a bound that doubles. A read whose connection was
lost is repeated once.
"""

import asyncio
import logging
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, NoRegionError, WaiterError

from datalayer.dynamodb.actions import Action
from datalayer.dynamodb.items import Item
from datalayer.dynamodb.keys import INDEX
from datalayer.dynamodb.refusals import TRANSPORT_ERRORS, Busy, translated
from datalayer.errors import ConfigurationError, ConnectionLost, DataLayerError, StorageUnavailable

logger = logging.getLogger(__name__)

ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
MOST_ACTIONS = 100
"""The most actions of a transaction."""
_MOST_READ, _MOST_WRITTEN = 100, 25
_CONNECTIONS = 50
_SECONDS = 10
_READS = frozenset({"get_item", "query", "scan", "describe_table", "describe_time_to_live"})
_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_FORM = "the database URL must be dynamodb://table?region=…, with endpoint_url=… for another server than Amazon's"


@dataclass(frozen=True, slots=True)
class Place:
    """The table, and the server."""

    table: str
    region: str | None = None
    endpoint_url: str | None = None


def place_of(url: str) -> Place:
    """The place in a URL.

    Raises:
        ConfigurationError: the URL is not valid.
    """
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError:
        raise ConfigurationError(_FORM) from None
    if parts.scheme != "dynamodb" or not parts.netloc or parts.path.strip("/") or parts.fragment:
        raise ConfigurationError(_FORM)
    if "@" in parts.netloc:
        raise ConfigurationError(f"{_FORM}; it cannot contain credentials: set AWS_ACCESS_KEY_ID or a profile")
    if unknown := sorted(options.keys() - {"region", "endpoint_url"}):
        raise ConfigurationError(f"{_FORM}; it has an unknown option: {unknown[0]}")
    if not _NAME.fullmatch(parts.netloc):
        raise ConfigurationError(f"{_FORM}; the name of a table has 3 to 255 letters, digits, '_', '-' and '.'")
    for name, values in options.items():
        if len(values) > 1 or not values[0]:
            raise ConfigurationError(f"{_FORM}; {name} is {'given twice' if len(values) > 1 else 'empty'}")
    if not options.get("endpoint_url", ["http://"])[0].startswith(("http://", "https://")):
        raise ConfigurationError(f"{_FORM}; endpoint_url must begin with http:// or https://")
    return Place(parts.netloc, *(options.get(name, [None])[-1] for name in ("region", "endpoint_url")))


class Table:
    """One table, from one event loop. Nothing is connected before the first call."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._client: Any = None
        self._clients = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()

    async def close(self) -> None:
        async with self._one_at_a_time:
            self._client = None
            await self._clients.aclose()

    # Reads

    async def get(self, key: Item) -> Item | None:
        """The item, as of now, or None."""
        answer = await self.call("get_item", Key=key, ConsistentRead=True)
        found: Item | None = answer.get("Item")
        return found

    async def get_many(self, keys: Sequence[Item]) -> list[Item]:
        """The items that exist, as of now, in any order."""
        found: list[Item] = []
        parts = [keys[at : at + _MOST_READ] for at in range(0, len(keys), _MOST_READ)]
        for some in await asyncio.gather(*map(self._get_some, parts)):
            found += some
        return found

    async def query(self, pk: str, beginning: str | None = None) -> list[Item]:
        """All items of a partition, as of now, or those whose sort key begins so, in the order of the sort key."""
        condition, values = "PK = :pk", {":pk": {"S": pk}}
        if beginning is not None:
            condition, values = f"{condition} AND begins_with(SK, :sk)", {**values, ":sk": {"S": beginning}}
        found: list[Item] = []
        async for page in self._pages(
            "query", KeyConditionExpression=condition, ExpressionAttributeValues=values, ConsistentRead=True
        ):
            found += page
        return found

    async def query_index(
        self, pk: str, *, after: Item | None = None, until: str | None = None, size: int | None = None
    ) -> AsyncIterator[list[Item]]:
        """The pages of one key of the index, the latest first: table keys, id and name. It may lag behind.

        Args:
            after: an item, of which the four keys count, that the first page follows.
            until: only entries at this time or before.
            size: the most entries of a page.
        """
        condition, values = "UserThreadPK = :pk", {":pk": {"S": pk}}
        if until is not None:
            condition, values = f"{condition} AND UserThreadSK <= :sk", {**values, ":sk": {"S": f"TS#{until}"}}
        options: dict[str, Any] = {"IndexName": INDEX, "ScanIndexForward": False}
        if size is not None:
            options["Limit"] = size
        if after is not None:
            options["ExclusiveStartKey"] = after
        async for page in self._pages(
            "query", KeyConditionExpression=condition, ExpressionAttributeValues=values, **options
        ):
            yield page

    async def scan(self, size: int) -> AsyncIterator[list[Item]]:
        """The pages of all items of the table, of at most so many items and 1 MB. Those of a partition are together."""
        async for page in self._pages("scan", ConsistentRead=True, Limit=size):
            yield page

    # Writes

    async def transact(self, actions: Sequence[Action]) -> None:
        """Carry out all actions or none.

        Raises:
            ConditionFailed: a condition is not met.
            InvalidRecord: DynamoDB refuses the data.
        """
        if len(actions) == 1 and "ConditionCheck" not in actions[0]:
            ((kind, action),) = actions[0].items()
            await self.call(f"{kind.lower()}_item", **action)
            return
        named = [{kind: {"TableName": self.place.table, **action}} for one in actions for kind, action in one.items()]
        # With its token, a transaction that is repeated after a lost answer is carried out once.
        token = str(uuid.uuid4())
        await self._repeat(
            lambda client: client.transact_write_items(TransactItems=named, ClientRequestToken=token), repeatable=True
        )

    async def delete_many(self, keys: Sequence[Item]) -> None:
        """Delete the items, in no order."""
        await self._write_many([{"DeleteRequest": {"Key": key}} for key in keys])

    async def put_many(self, items: Sequence[Item]) -> None:
        """Store the items, each with a key of its own, in no order and without conditions.

        Raises:
            InvalidRecord: DynamoDB refuses one of them. Others may be stored.
        """
        await self._write_many([{"PutRequest": {"Item": item}} for item in items])

    # Calls

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """One call about the table, repeated while DynamoDB is busy."""
        return await self._repeat(
            lambda client: getattr(client, name)(TableName=self.place.table, **arguments), repeatable=name in _READS
        )

    async def wait_until_active(self) -> None:
        """Wait until the table, which is being created, can be used.

        Raises:
            StorageUnavailable: this takes longer than two minutes.
        """
        waiter = (await self._connected()).get_waiter("table_exists")
        try:
            await waiter.wait(TableName=self.place.table, WaiterConfig={"Delay": 2, "MaxAttempts": 60})
        except WaiterError as error:
            raise StorageUnavailable("the DynamoDB table is still being created") from error

    async def _pages(self, name: str, **arguments: Any) -> AsyncIterator[list[Item]]:
        while True:
            answer = await self.call(name, **arguments)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _get_some(self, keys: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        wanted: Any = {self.place.table: {"Keys": list(keys), "ConsistentRead": True}}
        async for attempt in _attempts():
            asked = wanted
            answer = await self._repeat(lambda client: client.batch_get_item(RequestItems=asked), repeatable=True)  # noqa: B023
            found += answer["Responses"].get(self.place.table, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return found
            _note(attempt, "gave back a part of a read")
        raise Busy("DynamoDB did not read all items of a batch")

    async def _write_many(self, requests: Sequence[dict[str, Any]]) -> None:
        parts = [requests[at : at + _MOST_WRITTEN] for at in range(0, len(requests), _MOST_WRITTEN)]
        for some in (parts[at : at + 4] for at in range(0, len(parts), 4)):
            await asyncio.gather(*map(self._write_some, some))

    async def _write_some(self, requests: Sequence[dict[str, Any]]) -> None:
        wanted: Any = {self.place.table: list(requests)}
        async for attempt in _attempts():
            asked = wanted
            answer = await self._repeat(lambda client: client.batch_write_item(RequestItems=asked), repeatable=True)  # noqa: B023
            wanted = answer.get("UnprocessedItems")
            if not wanted:
                return
            _note(attempt, "gave back a part of a write")
        raise Busy("DynamoDB did not write all items of a batch")

    async def _repeat(
        self, call: Callable[[Any], Awaitable[dict[str, Any]]], *, repeatable: bool = False
    ) -> dict[str, Any]:
        refusal: DataLayerError | None = None
        may_be_lost = repeatable
        async for attempt in _attempts():
            client = await self._connected()
            try:
                return await call(client)
            except TRANSPORT_ERRORS as error:
                refusal = translated(error, table=self.place.table, timeout_seconds=_SECONDS)
            if may_be_lost and isinstance(refusal, ConnectionLost):
                may_be_lost = False
            elif not isinstance(refusal, Busy):
                raise refusal
            _note(attempt, str(refusal))
        assert refusal is not None
        raise refusal

    async def _connected(self) -> Any:
        if self._client is not None:
            return self._client
        async with self._one_at_a_time:
            if self._client is None:
                config = AioConfig(
                    connect_timeout=5,
                    read_timeout=_SECONDS,
                    max_pool_connections=_CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": 1},
                )
                try:
                    made = aioboto3.Session(region_name=self.place.region).client(
                        "dynamodb", endpoint_url=self.place.endpoint_url, config=config
                    )
                    self._client = await self._clients.enter_async_context(made)
                except NoRegionError:
                    raise ConfigurationError(f"{_FORM}; the region is missing") from None
                except (BotoCoreError, ValueError) as error:
                    raise ConfigurationError(
                        f"the endpoint, region or profile of DynamoDB is not valid ({type(error).__name__})"
                    ) from None
            return self._client


async def _attempts() -> AsyncIterator[int]:
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(ATTEMPTS):
        if attempt:
            # Random, so that those who met do not meet again.
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        yield attempt


def _note(attempt: int, what: str) -> None:
    logger.debug("DynamoDB: %s, attempt %d", what, attempt + 1)
