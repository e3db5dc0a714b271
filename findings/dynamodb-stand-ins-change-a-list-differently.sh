#!/usr/bin/env bash
# Guess: of two stand-ins for DynamoDB, the stricter one is right, and code that passes on it works on the service.
# True: each takes what the other refuses. ministack removes the elements of a list one after the other, so that
#   `REMOVE queue[0], queue[1]` takes the first and the third; the service, as its documentation says, and moto count both
#   in the list as it was. ministack also takes an update of a map together with a value within it, and gives 17 MB in one
#   `BatchGetItem`, where 16 MB is the most and the rest is in `UnprocessedKeys`, as on moto. moto takes the same key
#   twice in a batch, a transaction of more than 4 MB, a set with a repeated value, and a number as the key of an index of
#   texts (the item is then in no list); ministack refuses all four, as the documentation does.
# For a chat like ours: the reader that never got `UnprocessedKeys` in a test loses threads in production, and steps that
#   were taken from a queue are the wrong ones. Run the tests on both; what they disagree on is what to avoid.
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
INVALID = "ValidationException"


def key(name):
    return {"PK": {"S": "thread"}, "SK": {"S": name}}


def make_table(client):
    """Also waits until the server answers."""
    for _ in range(300):
        try:
            return client.create_table(
                **TABLE,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK", "user")],
                GlobalSecondaryIndexes=[
                    {
                        "IndexName": "by-user",
                        "KeySchema": [{"AttributeName": "user", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                ],
            )
        except EndpointConnectionError:
            time.sleep(0.2)
    sys.exit("The server does not answer.")


def two_elements_of_a_list(client):
    client.put_item(**TABLE, Item={**key("list"), "queue": {"L": [{"S": name} for name in "abc"]}})
    changed = client.update_item(
        **TABLE, Key=key("list"), UpdateExpression="REMOVE queue[0], queue[1]", ReturnValues="ALL_NEW"
    )
    return [one["S"] for one in changed["Attributes"]["queue"]["L"]]


def map_and_value_within_it(client):
    client.put_item(**TABLE, Item={**key("map"), "progress": {"M": {"place": {"S": "1"}}}})
    client.update_item(
        **TABLE,
        Key=key("map"),
        UpdateExpression="SET progress = :empty, progress.place = :place",
        ExpressionAttributeValues={":empty": {"M": {}}, ":place": {"S": "2"}},
    )


def read_of_17_megabytes(client):
    names = [f"step {number}" for number in range(45)]
    for name in names:
        client.put_item(**TABLE, Item={**key(name), "output": {"S": "x" * 390_000}})
    answer = client.batch_get_item(RequestItems={"chat": {"Keys": [key(name) for name in names]}})
    later = len(answer.get("UnprocessedKeys", {}).get("chat", {}).get("Keys", ()))
    return len(answer["Responses"]["chat"]), later


def same_key_twice_in_a_batch(client):
    requests = [{"PutRequest": {"Item": key("twice")}}, {"DeleteRequest": {"Key": key("twice")}}]
    client.batch_write_item(RequestItems={"chat": requests})


def transaction_of_4_megabytes(client):
    puts = [{**key(f"part {number}"), "output": {"S": "x" * 300_000}} for number in range(15)]
    client.transact_write_items(TransactItems=[{"Put": {**TABLE, "Item": item}} for item in puts])


def value_twice_in_a_set(client):
    client.put_item(**TABLE, Item={**key("set"), "tags": {"SS": ["order", "order"]}})


def number_as_key_of_an_index(client):
    client.put_item(**TABLE, Item={**key("number"), "user": {"N": "7"}})


# What moto does, and what ministack does.
EXPECTED = {
    two_elements_of_a_list: (["c"], ["b"]),
    map_and_value_within_it: (INVALID, "accepted"),
    read_of_17_megabytes: ((43, 2), (45, 0)),
    same_key_twice_in_a_batch: ("accepted", INVALID),
    transaction_of_4_megabytes: ("accepted", INVALID),
    value_twice_in_a_set: ("accepted", INVALID),
    number_as_key_of_an_index: ("accepted", INVALID),
}


def outcome(client, attempt):
    try:
        return attempt(client) or "accepted"
    except ClientError as error:
        return error.response["Error"]["Code"]


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
