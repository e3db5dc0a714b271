#!/usr/bin/env bash
# Guess: what protects a write from being done twice on DynamoDB, the ClientRequestToken of a transaction, can be tested
#   on moto, the usual stand-in.
# True: moto ignores the token. Sent twice, a transaction adds a call's cost twice, and the token of another transaction
#   is no error. moto also takes 26 items in a batch and a number of 40 digits, gives a number back as it was written
#   ("1e3"), and never gives a LastEvaluatedKey when `Limit` is exactly reached. ministack, a younger stand-in, does all
#   of these as DynamoDB's documentation describes them. Both stop a page of a query at 1 MB.
# For a chat like ours: on moto, the test of a repeated charge fails although the code is right, so that somebody mends
#   the code, or removes the test; and batches that the service refuses, and lists that promise a next page which turns
#   out to be empty, pass. Run the same tests on both.
set -euo pipefail
folder=$(mktemp -d)
stop() {
  if [ -f "$folder/pid" ]; then kill "$(cat "$folder/pid")" || true; fi
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'moto[server]==5.2.5' ministack==1.5.33
cd "$folder"
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
GATEWAY_PORT=$port "$folder/venv/bin/ministack" >"$folder/log" 2>&1 &
echo $! >"$folder/pid"
"$folder/venv/bin/python" - "$port" <<'PY'
import logging
import sys
import time
from importlib.metadata import version

import boto3
from botocore.exceptions import ClientError, EndpointConnectionError
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
TABLE = {"TableName": "chat"}


def key(name, thread="a"):
    return {"PK": {"S": thread}, "SK": {"S": name}}


def make_table(client):
    """Also waits until the server answers."""
    for _ in range(300):
        try:
            return client.create_table(
                **TABLE,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
            )
        except EndpointConnectionError:
            time.sleep(0.2)
    sys.exit("The server does not answer.")


def charge(client, cost):
    """Add a cost, in a transaction that may be sent twice."""
    client.transact_write_items(
        ClientRequestToken="the call 1",
        TransactItems=[
            {
                "Update": {
                    **TABLE,
                    "Key": key("spent"),
                    "UpdateExpression": "ADD cost :cost",
                    "ExpressionAttributeValues": {":cost": {"N": cost}},
                }
            }
        ],
    )


def charged_twice(client):
    charge(client, "5")
    charge(client, "5")
    return client.get_item(**TABLE, Key=key("spent"))["Item"]["cost"]["N"]


def token_of_another(client):
    charge(client, "7")


def batch_of_26(client):
    puts = [{"PutRequest": {"Item": key(f"step {number}")}} for number in range(26)]
    client.batch_write_item(RequestItems={"chat": puts})


def number_of_40_digits(client):
    client.put_item(**TABLE, Item={**key("digits"), "value": {"N": "1" * 40}})


def number_as_written(client):
    client.put_item(**TABLE, Item={**key("number"), "value": {"N": "1e3"}})
    return client.get_item(**TABLE, Key=key("number"))["Item"]["value"]["N"]


def query(client, thread, **options):
    return client.query(
        **TABLE, KeyConditionExpression="PK = :thread", ExpressionAttributeValues={":thread": {"S": thread}}, **options
    )


def limit_reached(client):
    for number in range(4):
        client.put_item(**TABLE, Item=key(f"step {number}", "four"))
    return "LastEvaluatedKey" if "LastEvaluatedKey" in query(client, "four", Limit=4) else "no LastEvaluatedKey"


def long_thread(client):
    for number in range(6):
        client.put_item(**TABLE, Item={**key(f"step {number}", "long"), "output": {"S": "x" * 300_000}})
    return f"{len(query(client, 'long')['Items'])} of 6 items"


def outcome(client, attempt):
    try:
        return attempt(client) or "accepted"
    except ClientError as error:
        return error.response["Error"]["Code"]


MISMATCH, INVALID = "IdempotentParameterMismatchException", "ValidationException"
# What moto does, and what ministack does.
EXPECTED = {
    charged_twice: ("10", "5"),
    token_of_another: ("accepted", MISMATCH),
    batch_of_26: ("accepted", INVALID),
    number_of_40_digits: ("accepted", INVALID),
    number_as_written: ("1e3", "1000"),
    limit_reached: ("no LastEvaluatedKey", "LastEvaluatedKey"),
    long_thread: ("3 of 6 items", "3 of 6 items"),
}
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
moto.start()
host, port = moto.get_host_and_port()
clients = [
    boto3.client("dynamodb", endpoint_url=url) for url in (f"http://{host}:{port}", f"http://127.0.0.1:{sys.argv[1]}")
]
for client in clients:
    make_table(client)
seen = {attempt: tuple(outcome(client, attempt) for client in clients) for attempt in EXPECTED}
print("moto", version("moto"), " ministack", version("ministack"))
print("guess: both alike")
for attempt, (first, second) in seen.items():
    print(f"seen:  {attempt.__name__.replace('_', ' ')}: moto {first}, ministack {second}")
moto.stop()
if seen != EXPECTED:
    sys.exit("The behaviour has changed.")
PY
