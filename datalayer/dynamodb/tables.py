"""The table: as CloudFormation, and created from the same description."""

import json
from typing import Any

from datalayer.dynamodb.client import Table
from datalayer.dynamodb.keys import INDEX
from datalayer.errors import SchemaError, StorageUnavailable

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
    try:
        found = (await table.call("describe_table"))["Table"]
    except SchemaError:
        return False
    index = next((one for one in found.get("GlobalSecondaryIndexes", ()) if one["IndexName"] == INDEX), None)
    if index is None or _keys_of(found) != _KEYS or _keys_of(index) != _INDEX_KEYS:
        raise SchemaError(
            f"the DynamoDB table {table.place.table!r} is not one of Chainlit's: it needs the keys and the index of "
            "docs/dynamodb.md. It was not changed"
        )
    return True


async def create(table: Table) -> bool:
    """Create the table if it does not exist, and wait until it is active; whether it was created.

    Raises:
        SchemaError: it must be created by somebody else. The message has the CloudFormation for it.
    """
    if await exists(table):
        return False
    try:
        await table.call("create_table", **DESCRIPTION)
    except StorageUnavailable as error:
        if "AccessDenied" in str(error):
            raise SchemaError(
                f"the credentials may not create the DynamoDB table {table.place.table!r}. Create it with this "
                f"CloudFormation template:\n{cloud_formation(table.place.table)}"
            ) from None
        if "ResourceInUse" not in str(error):
            raise
    await table.wait_until_active()
    await table.call("update_time_to_live", TimeToLiveSpecification=_EXPIRY)
    return True


def _keys_of(described: dict[str, Any]) -> dict[str, str]:
    return {one["AttributeName"]: one["KeyType"] for one in described["KeySchema"]}
