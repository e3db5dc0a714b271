"""What is in a table."""

from collections import Counter

from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item


async def all_items(table: Table) -> list[Item]:
    """Every item of the table."""
    found: list[Item] = []
    more: dict[str, Item] = {}
    while True:
        answer = await table.call("scan", ConsistentRead=True, **more)
        found += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return found
        more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


async def kinds(table: Table) -> dict[str, int]:
    """The number of items of each kind."""
    return dict(Counter(one["SK"]["S"].partition("#")[0] for one in await all_items(table)))
