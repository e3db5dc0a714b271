#!/usr/bin/env bash
# Guess: while one user's thread is read from a slow DynamoDB, the answers of the others go on streaming: the layer's
#   methods are `async`.
# True: Chainlit's DynamoDBDataLayer calls boto3, which is not asynchronous, in the event loop. Nothing else runs until
#   it returns: a request that takes one second stops every stream, heartbeat and health check of the process for that
#   second. When the table refuses requests because of its limits, boto3 itself repeats the request nine times with
#   pauses, and the process stands still for 25 seconds; then the caller gets the error.
# For a chat like ours: one hot table makes every user's page wait, sockets run into their time-outs, and an orchestrator
#   may take the process for dead. A layer has to use aioboto3 or a thread, and waits of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0 boto3==1.40.61
cd "$folder"
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import boto3
from botocore.exceptions import ClientError
from chainlit.data.dynamodb import DynamoDBDataLayer

REFUSAL = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
requests = []


class Table(BaseHTTPRequestHandler):
    """Answers after a second, or refuses at once."""

    refuses = False

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        requests.append(self.path)
        code, answer = 400, {"__type": REFUSAL, "message": "The table's limit is reached."}
        if not self.refuses:
            time.sleep(1)
            code, answer = 200, {"Items": [], "Count": 0}
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def stream(times):
    """Stands for another user's answer: a token every 20 ms."""
    while True:
        times.append(time.perf_counter())
        await asyncio.sleep(0.02)


async def read(layer):
    requests.clear()
    times = []
    other = asyncio.create_task(stream(times))
    await asyncio.sleep(0.2)
    outcome = "read"
    try:
        await layer.get_thread("a thread")
    except ClientError as error:
        outcome = error.response["Error"]["Code"]
    await asyncio.sleep(0.2)
    other.cancel()
    return outcome, len(requests), max(later - sooner for sooner, later in zip(times, times[1:]))


async def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Table)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = boto3.client("dynamodb", endpoint_url=f"http://127.0.0.1:{server.server_port}")
    layer = DynamoDBDataLayer("chat", client=client)
    slow = await read(layer)
    Table.refuses = True
    return {"slow by a second": slow, "refuses": await read(layer)}


seen = asyncio.run(main())
print("chainlit", version("chainlit"), " boto3", version("boto3"))
print("guess: another user's stream pauses for 0.0 seconds")
for name, (outcome, count, pause) in seen.items():
    print(f"seen:  {name}: {count} requests, {outcome}; another user's stream paused for {pause:.1f} seconds")
if (
    [one[:2] for one in seen.values()] != [("read", 1), ("ProvisionedThroughputExceededException", 10)]
    or seen["slow by a second"][2] < 1
    or seen["refuses"][2] < 20
):
    sys.exit("The behaviour has changed.")
PY
