#!/usr/bin/env bash
# Guess: an upload to a store that refuses the connection fails in a few seconds; `retry_total=3` means three quick
#   tries.
# True: the Azure SDK's defaults wait 15 to 21, then 21 to 27, then 39 to 45 seconds between its four tries, also when
#   nothing listens at the address: the caller learns after 75 to 93 seconds. `initial_backoff=1` takes only 14 seconds
#   off each wait, because powers of 3 are added to it (`increment_base`).
# For a chat like ours: while the store is down, a user who attaches a file looks at a spinner for a minute and a half,
#   and each such upload holds its place in the queue. Set both where somebody waits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check azure-storage-blob==12.31.1 \
  azure-core==1.41.0 aiohttp==3.14.5
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
from importlib.metadata import version

from azure.core.exceptions import ServiceRequestError
from azure.storage.blob.aio import BlobServiceClient

really_sleep = asyncio.sleep
waits = []


async def note(seconds, *_):
    """The wait is written down instead of waited."""
    waits.append(seconds)
    await really_sleep(0)


async def upload(**options):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/account"
    waits.clear()
    connection = f"AccountName=account;AccountKey=a2V5;BlobEndpoint={address}"
    async with BlobServiceClient.from_connection_string(connection, **options) as service:
        try:
            await service.get_blob_client("files", "a file").upload_blob(b"text")
        except ServiceRequestError:
            return [round(seconds, 1) for seconds in waits if seconds]
    return "stored"


asyncio.sleep = note
default = asyncio.run(upload())
short = asyncio.run(upload(initial_backoff=1))
print("azure-storage-blob", version("azure-storage-blob"))
print("guess: less than 10 seconds in all")
print(f"seen:  by default, waits of {default} seconds, {sum(default):.0f} in all")
print(f"seen:  with initial_backoff=1, {short}, {sum(short):.0f} in all")
if len(default) != 3 or not 70 < sum(default) < 100 or not 30 < sum(short) < 55:
    sys.exit("The behaviour has changed.")
PY
