#!/usr/bin/env bash
# Guess: a new name for a thread changes its name.
# True: Chainlit's DynamoDBDataLayer also empties the thread's metadata and sets its `createdAt` to now. A call of
#   `update_thread` without metadata writes an empty one, and the page's rename is such a call. So are new tags.
#   A thread that has no name yet ends every list that it would stand in with a KeyError, for its user, until it has one.
# For a chat like ours: metadata hold the profile and the settings with which a thread is resumed: after a rename, an old
#   thread goes on with another assistant. Its date is that of its last rename. Whoever adopts such a table has to take
#   the date of the first step, and cannot get the metadata back. A layer leaves alone what a call does not name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  chainlit==2.12.0 moto==5.2.5 boto3==1.40.61
cd "$folder"
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import boto3
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.types import Pagination, ThreadFilter
from moto import mock_aws

KEYS = {"HASH": ("PK", "UserThreadPK"), "RANGE": ("SK", "UserThreadSK")}
SCHEMAS = [[{"AttributeName": KEYS[kind][place], "KeyType": kind} for kind in KEYS] for place in (0, 1)]
METADATA = {"chat_profile": "Support"}


def make_table(client):
    """The table and the index that Chainlit's documentation names."""
    client.create_table(
        TableName="chat",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=SCHEMAS[0],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for pair in KEYS.values() for name in pair],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "UserThread",
                "KeySchema": SCHEMAS[1],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["id", "name"]},
            }
        ],
    )


async def main():
    client = boto3.client("dynamodb")
    make_table(client)
    layer = DynamoDBDataLayer("chat", client=client)
    seen = {}
    for name, change in {"rename": {"name": "Refund"}, "new tags": {"tags": ["order"]}}.items():
        await layer.update_thread(name, name="Where is my order?", user_id="ada", metadata=METADATA)
        before = await layer.get_thread(name)
        await asyncio.sleep(0.1)
        await layer.update_thread(name, **change)
        after = await layer.get_thread(name)
        seen[name] = (before["metadata"], after["metadata"], before["createdAt"] < after["createdAt"])
    await layer.update_thread("without a name", user_id="ada")
    try:
        await layer.list_threads(Pagination(first=20), ThreadFilter(userId="ada"))
        seen["list"] = "works"
    except KeyError as error:
        seen["list"] = repr(error)
    return seen


with mock_aws():
    seen = asyncio.run(main())
print("chainlit", version("chainlit"), " moto", version("moto"))
print(f"guess: metadata {METADATA} and createdAt stay; the list works")
for name in ("rename", "new tags"):
    print(f"seen:  {name}: metadata {seen[name][0]} -> {seen[name][1]}, createdAt is newer: {seen[name][2]}")
print("seen:  list with a thread that has no name:", seen["list"])
changed = (METADATA, {}, True)
if seen != {"rename": changed, "new tags": changed, "list": "KeyError('name')"}:
    sys.exit("The behaviour has changed.")
PY
