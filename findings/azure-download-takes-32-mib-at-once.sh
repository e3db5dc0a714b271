#!/usr/bin/env bash
# Guess: `download_blob()` of Azure's library opens a file, and `chunks()` reads it in pieces of 4 MiB, so that a server which
#   passes a file on needs a few pieces of memory.
# True: `download_blob()` itself reads the first 32 MiB before it returns (`max_single_get_size`); the pieces of 4 MiB are cut
#   from these. The asynchronous client needs 64 MiB for them at its peak, the other one 288, and 32 stay held while the file
#   is sent. What a person gets first comes after 32 MiB have come. With both sizes set to 1 MiB, 1 is held.
# For a chat like ours: twenty people who open a film at once need more than a gigabyte, whether they watch it or not. Set
#   `max_single_get_size` and `max_chunk_get_size` of the client.
set -euo pipefail
folder=$(mktemp -d)
stop() {
  if [ -f "$folder/pid" ]; then kill "$(cat "$folder/pid")" 2> /dev/null || true; fi
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check azure-storage-blob==12.31.1 aiohttp==3.14.5
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" azurite@3.35.0 > /dev/null
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncClient

MIB = 1 << 20
# The account that Azurite has in its documentation.
ACCOUNT = {
    "account_name": "devstoreaccount1",
    "account_key": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}
SMALL = {"max_single_get_size": MIB, "max_chunk_get_size": MIB}
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
URL = f"http://127.0.0.1:{port}/devstoreaccount1"
azurite = Path("node_modules/azurite")
server = subprocess.Popen(
    ["node", "node_modules/.bin/azurite-blob", "--silent", "--skipApiVersionCheck", "--blobPort", str(port), "--location", "."],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "AZURITE_DISABLE_TELEMETRY": "1"},
)
Path("pid").write_text(str(server.pid))
while True:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.2)
container = BlobServiceClient(URL, credential=ACCOUNT).create_container("films")
container.upload_blob("film", b"x" * 40 * MIB)


def memory():
    """MiB that are held, and that were held at the peak."""
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held // MIB, peak // MIB


def plain(**options):
    client = BlobServiceClient(URL, credential=ACCOUNT, **options).get_blob_client("films", "film")
    tracemalloc.start()
    download = client.download_blob(max_concurrency=1)
    seen = memory()
    return *seen, len(next(download.chunks())) // MIB


async def with_async(**options):
    async with AsyncClient(URL, credential=ACCOUNT, **options) as client:
        tracemalloc.start()
        download = await client.get_blob_client("films", "film").download_blob(max_concurrency=1)
        seen = memory()
        return *seen, len(await anext(download.chunks())) // MIB


seen = {
    "plain": plain(),
    "plain, 1 MiB": plain(**SMALL),
    "async": asyncio.run(with_async()),
    "async, 1 MiB": asyncio.run(with_async(**SMALL)),
}
server.terminate()
server.wait()
Path("pid").unlink()
print("azure-storage-blob", version("azure-storage-blob"), " azurite", json.loads((azurite / "package.json").read_text())["version"])
print("guess: some MiB, and then pieces of 4 MiB")
for name, (held, peak, first) in seen.items():
    print(f"seen:  {name}: after download_blob() {held} MiB held, {peak} at the peak; pieces of {first} MiB")
if not (
    31 <= seen["plain"][0] <= 34 and seen["plain"][1] > 150 and seen["plain"][2] == 4
    and 31 <= seen["async"][0] <= 34 and 60 <= seen["async"][1] < 80 and seen["async"][2] == 4
    and seen["plain, 1 MiB"][0] <= 2 and seen["async, 1 MiB"][0] <= 2
):
    sys.exit("The behaviour has changed.")
PY
