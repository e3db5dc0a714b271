#!/usr/bin/env bash
# Guess: a step is read from the store as it was written, and an update that sets a value to None sets it to None.
# True: Chainlit's DynamoDBDataLayer gives back every integer as a float: `{"order": 1042}` in the metadata becomes
#   1042.0, an identifier of 17 digits loses its last one, and so does the page number of a PDF element. An update
#   leaves out what is None: an error that was corrected stays an error text, a removed language stays. A step that was
#   stored by updates alone, as after `stream_token` and `update()`, has no `createdAt`, and its thread can be neither
#   opened nor deleted any more: both raise a KeyError.
# For a chat like ours: numbers in metadata are keys, versions, counts; they no longer compare equal as text, and a
#   thread is lost to its user by one step. Whole numbers are read as int; None is written (REMOVE); a step without a time
#   sorts by another one.
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
from chainlit.context import init_http_context
from chainlit.data.dynamodb import DynamoDBDataLayer
from moto import mock_aws

METADATA = {"order": 1042, "identifier": 12345678901234567, "share": 0.25}
STEP = {"id": "s", "threadId": "t", "type": "run", "name": "look up", "output": "", "createdAt": "2026-01-01T00:00:00Z"}


def make_table(client):
    client.create_table(
        TableName="chat",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
    )


async def outcome(awaitable):
    try:
        await awaitable
    except KeyError as error:
        return repr(error)
    return "works"


async def main():
    client = boto3.client("dynamodb")
    make_table(client)
    init_http_context()
    layer = DynamoDBDataLayer("chat", client=client)
    await layer.update_thread("t", name="Refund", user_id="ann")
    await layer.create_step({**STEP, "metadata": METADATA, "isError": True, "language": "sql"})
    await layer.update_step({**STEP, "isError": False, "language": None})
    step = (await layer.get_thread("t"))["steps"][0]
    await layer.update_step({**STEP, "id": "streamed", "output": "five days", "createdAt": None})
    opened, deleted = await outcome(layer.get_thread("t")), await outcome(layer.delete_thread("t"))
    return {
        "metadata": repr({name: step["metadata"][name] for name in METADATA}),
        "language": step["language"],
        "open": opened,
        "delete": deleted,
    }


with mock_aws():
    seen = asyncio.run(main())
print("chainlit", version("chainlit"), " moto", version("moto"))
print(f"guess: metadata {METADATA}; language None; open and delete work")
for name, value in seen.items():
    print(f"seen:  {name}: {value}")
if seen != {
    "metadata": "{'order': 1042.0, 'identifier': 1.2345678901234568e+16, 'share': 0.25}",
    "language": "sql",
    "open": "KeyError('createdAt')",
    "delete": "KeyError('createdAt')",
}:
    sys.exit("The behaviour has changed.")
PY
