"""The table: as CloudFormation, and created from the same description."""

import json
import logging
from typing import Any

from datalayer.dynamodb.client import Table
from datalayer.dynamodb.keys import INDEX
from datalayer.dynamodb.refusals import InUse, NotPermitted
from datalayer.errors import DataLayerError, SchemaError, StorageUnavailable

logger = logging.getLogger(__name__)

EXPIRES = "tk:expiresAt"
"""The attribute with the time, in seconds since 1970, after which DynamoDB removes an item."""
_KEYS = {"PK": "HASH", "SK": "RANGE"}
_INDEX_KEYS = {"UserThreadPK": "HASH", "UserThreadSK": "RANGE"}

DESCRIPTION: dict[str, Any] = {
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in (*_KEYS, *_INDEX_KEYS)],
    "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in _KEYS.items()],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": INDEX,
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in _INDEX_KEYS.items()],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["id", "name"]},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
_EXPIRY = {"AttributeName": EXPIRES, "Enabled": True}


def cloud_formation(name: str) -> str:
    """The table as a CloudFormation template, in JSON."""
    properties = {"TableName": name, **DESCRIPTION, "TimeToLiveSpecification": _EXPIRY}
    table = {"Type": "AWS::DynamoDB::Table", "Properties": properties}
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"DynamoDBTable": table}}, indent=2)


async def exists(table: Table) -> bool:
    """Whether the table exists.

    Raises:
        SchemaError: it has other keys, or not the index.
    """
    return await _described(table) is not None


async def _described(table: Table) -> dict[str, Any] | None:
    """What DynamoDB says of the table, or None if it does not exist. Raises as `exists` does."""
    try:
        found: dict[str, Any] = (await table.call("describe_table"))["Table"]
    except SchemaError:
        return None
    index = next((one for one in found.get("GlobalSecondaryIndexes", ()) if one["IndexName"] == INDEX), None)
    kinds = {one["AttributeName"]: one["AttributeType"] for one in found["AttributeDefinitions"]}
    texts = all(kinds.get(name) == "S" for name in (*_KEYS, *_INDEX_KEYS))
    if index is None or not texts or _keys_of(found) != _KEYS or _keys_of(index) != _INDEX_KEYS:
        raise SchemaError(
            f"the DynamoDB table {table.place.table!r} is not one of Chainlit's: it needs the keys and the index of "
            "docs/dynamodb.md. It was not changed"
        )
    return found


async def create(table: Table) -> bool:
    """Create the table if it does not exist, and wait until it is active; whether it was created.

    Its items expire from then on. If this is refused, it is logged and tried again at the next start.

    Raises:
        SchemaError: it must be created by somebody else. The message has the CloudFormation for it.
    """
    if (found := await _described(table)) is not None:
        await _wait_until_usable(table, found)
        await _let_expire(table)
        return False
    try:
        await table.call("create_table", **DESCRIPTION)
    except NotPermitted:
        raise SchemaError(
            f"the credentials may not create the DynamoDB table {table.place.table!r}. Create it with this "
            f"CloudFormation template:\n{cloud_formation(table.place.table)}"
        ) from None
    except InUse:
        # Another process creates it.
        pass
    await table.wait_until_active()
    await _let_expire(table)
    return True


async def _wait_until_usable(table: Table, found: dict[str, Any]) -> None:
    """Wait for a table that somebody else is creating.

    Raises:
        StorageUnavailable: it, or its index, is being made for longer, or it is being deleted.
    """
    if found["TableStatus"] == "DELETING":
        raise StorageUnavailable(f"the DynamoDB table {table.place.table!r} is being deleted: start again afterwards")
    if found["TableStatus"] == "CREATING":
        await table.wait_until_active()
        return
    index = next(one for one in found["GlobalSecondaryIndexes"] if one["IndexName"] == INDEX)
    if index.get("IndexStatus", "ACTIVE") in ("CREATING", "DELETING"):
        raise StorageUnavailable(
            f"the index {INDEX} of the DynamoDB table {table.place.table!r} is being built or deleted: start again "
            "when it is active"
        )


async def _let_expire(table: Table) -> None:
    try:
        found = (await table.call("describe_time_to_live"))["TimeToLiveDescription"]
        if found["TimeToLiveStatus"] in ("ENABLED", "ENABLING"):
            if found.get("AttributeName") == EXPIRES:
                return
            reason = f"its items expire by {found.get('AttributeName')!r}"
        else:
            await table.call("update_time_to_live", TimeToLiveSpecification=_EXPIRY)
            return
    except DataLayerError as error:
        reason = str(error)
    logger.warning(
        "marks of deleted threads stay in the DynamoDB table: its time to live is not set to %r: %s", EXPIRES, reason
    )


def _keys_of(described: dict[str, Any]) -> dict[str, str]:
    return {one["AttributeName"]: one["KeyType"] for one in described["KeySchema"]}
