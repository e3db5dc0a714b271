#!/usr/bin/env bash
# Guess: where moto takes a request, its keys are keys: it refuses a whole item in the place of one, as the service does.
# True: moto refuses it in `GetItem`, and takes it in `BatchGetItem`, where it leaves the other attributes alone. The
#   key is "the primary key of the item to retrieve" in the service's model, which demands its attributes and knows no
#   others; ministack refuses both. Because moto compares what it was given, two states of one item are two keys to it:
#   it gives the item twice, where the same key twice is an error.
# For a chat like ours: who reads many items again gives the items that they have, every test passes, and the service
#   refuses each batch, so that a move of the history ends at its first page. Cut items down to their keys where they are
#   read, and let a test demand it.
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
KEY = {"PK": {"S": "thread"}, "SK": {"S": "step"}}
ITEM = {**KEY, "output": {"S": "five days"}}
INVALID = "ValidationException"


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


def found_by(client, *keys):
    """How many items a batch finds."""
    answer = client.batch_get_item(RequestItems={"chat": {"Keys": list(keys)}})
    return len(answer["Responses"]["chat"])


def get_item_of_a_key(client):
    return len([client.get_item(**TABLE, Key=KEY)["Item"]])


def get_item_of_an_item(client):
    return len([client.get_item(**TABLE, Key=ITEM)["Item"]])


def batch_of_a_key(client):
    return found_by(client, KEY)


def batch_of_an_item(client):
    return found_by(client, ITEM)


def batch_of_a_key_twice(client):
    return found_by(client, KEY, KEY)


def batch_of_two_states_of_an_item(client):
    return found_by(client, ITEM, {**KEY, "output": {"S": "seven days"}})


# What moto does, and what ministack does.
EXPECTED = {
    get_item_of_a_key: (1, 1),
    get_item_of_an_item: (INVALID, INVALID),
    batch_of_a_key: (1, 1),
    batch_of_an_item: (1, INVALID),
    batch_of_a_key_twice: (INVALID, INVALID),
    batch_of_two_states_of_an_item: (2, INVALID),
}


def outcome(client, attempt):
    try:
        return attempt(client)
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
    client.put_item(**TABLE, Item=ITEM)
seen = {attempt: tuple(outcome(client, attempt) for client in clients) for attempt in EXPECTED}
print("moto", version("moto"), " ministack", version("ministack"))
print("guess: both refuse an item in the place of a key, in a batch too")
for attempt, (first, second) in seen.items():
    print(f"seen:  {attempt.__name__.replace('_', ' ')}: moto {first}, ministack {second}")
moto.stop()
if seen != EXPECTED:
    sys.exit("The behaviour has changed.")
PY
