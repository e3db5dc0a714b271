#!/usr/bin/env bash
# Guess: `upload_fileobj` of aioboto3 that is cancelled ends as one does whose reading fails: the parts that were sent are
#   dropped, and nothing of it runs on.
# True: only a failure drops them. When the task is cancelled, as it is when a person closes the page during an upload or
#   a time-out ends, the parts stay in the bucket and are billed, without an object that shows them, and the ten tasks that
#   send parts stay in the process for good, each waiting for a piece that never comes.
# For a chat like ours: each upload that is broken off leaves ten tasks in memory and some MiB in the bucket. Send the parts
#   oneself and drop them on `BaseException`, and let the bucket have a rule that ends uploads after some days.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aioboto3==15.5.0 'moto[server]==5.2.5'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import logging
import sys
from importlib.metadata import version

import aioboto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").disabled = True
MEBIBYTE = 2**20


class Upload:
    """40 MiB from a browser that stops sending after 20."""

    def __init__(self, *, fails):
        self.fails, self.sent, self.stopped = fails, 0, asyncio.Event()

    async def read(self, size):
        if self.sent >= 20 * MEBIBYTE:
            self.stopped.set()
            if self.fails:
                raise OSError("the browser has gone")
            await asyncio.Event().wait()
        self.sent += size
        return b"x" * size


async def upload(client, name, *, fails):
    """How it ended, the sizes of the parts that are left in MiB, and how many tasks are left."""
    before, source = asyncio.all_tasks(), Upload(fails=fails)
    task = asyncio.create_task(client.upload_fileobj(source, "bucket", name))
    await source.stopped.wait()
    await asyncio.sleep(2)
    if not fails:
        task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(1)
    left = []
    for one in (await client.list_multipart_uploads(Bucket="bucket")).get("Uploads", ()):
        parts = await client.list_parts(Bucket="bucket", Key=one["Key"], UploadId=one["UploadId"])
        left += [part["Size"] // MEBIBYTE for part in parts["Parts"]]
    tasks = [one for one in asyncio.all_tasks() - before if "uploader" in one.get_coro().__qualname__]
    return type(ended).__name__, left, len(tasks)


async def main(address):
    session = aioboto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    async with session.client("s3", endpoint_url=address) as client:
        await client.create_bucket(Bucket="bucket")
        return await upload(client, "fails", fails=True), await upload(client, "cancelled", fails=False)


server = ThreadedMotoServer(port=0, verbose=False)
server.start()
failed, cancelled = asyncio.run(main("http://{}:{}".format(*server.get_host_and_port())))
server.stop()
print("aioboto3", version("aioboto3"), "moto", version("moto"))
print("guess: no parts and no tasks are left, whether the upload fails or is cancelled")
for outcome, parts, tasks in (failed, cancelled):
    print(f"seen:  {outcome}: parts of {parts} MiB are left, and {tasks} tasks")
if failed != ("OSError", [], 0) or cancelled != ("CancelledError", [8, 8], 10):
    sys.exit("The behaviour has changed.")
PY
