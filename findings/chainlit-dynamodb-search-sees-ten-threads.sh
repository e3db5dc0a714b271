#!/usr/bin/env bash
# Guess: a search in the history finds a thread by its name however old it is, and a page has as many threads as it asks
#   for.
# True: Chainlit's DynamoDBDataLayer reads the ten newest threads, whatever number the page asks for, and looks for the
#   words among these. An older thread is on a later page of the result: the first page is empty, and says that there is
#   more. DynamoDB filters after it has read `Limit` items, and the layer does not read on. Capitals have to match too.
# For a chat like ours: a list that is empty and has a next page is taken for "nothing found"; who asks for 35 threads
#   gets 10. A layer reads on until the page is full or the history ends, and stores the name in lower case beside itself.
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


async def pages(layer, search=None):
    """How many threads each page of the list has, of 35 asked for."""
    sizes, cursor = [], None
    while True:
        page = await layer.list_threads(
            Pagination(first=35, cursor=cursor), ThreadFilter(userId="ann", search=search)
        )
        sizes.append(len(page.data))
        cursor = page.pageInfo.endCursor
        if not page.pageInfo.hasNextPage:
            return sizes


async def main():
    client = boto3.client("dynamodb")
    make_table(client)
    layer = DynamoDBDataLayer("chat", client=client)
    for number in range(25):
        name = "Refund of the order" if number == 0 else f"Question {number}"
        await layer.update_thread(f"thread-{number}", name=name, user_id="ann")
        await asyncio.sleep(0.002)
    return {search: await pages(layer, search) for search in (None, "Refund", "refund")}


with mock_aws():
    seen = asyncio.run(main())
print("chainlit", version("chainlit"), " moto", version("moto"))
print("guess: all 25 on one page; the oldest thread on the first page of its search, in capitals or not")
for search, sizes in seen.items():
    print(f"seen:  search {search!r}: threads by page {sizes}")
if seen != {None: [10, 10, 5], "Refund": [0, 0, 1], "refund": [0, 0, 0]}:
    sys.exit("The behaviour has changed.")
PY
