#!/usr/bin/env bash
# Guess: what S3 refuses by its documentation, one of the usual stand-ins refuses, so that a test sees it.
# True: moto stores an upload whose MD5 or CRC32 is not that of its bytes; ministack refuses it. ministack in turn joins parts
#   of a thousand bytes, where all but the last must have 5 MiB, which moto refuses. Neither refuses a key of 1,025 bytes (1,024
#   are the most), 3 kB of metadata (2 kB), or the deletion of 1,001 objects in one request (1,000). A condition on a write
#   (`If-None-Match`) is obeyed by both.
# For a chat like ours: the names of files are in keys and metadata, and deleting a user deletes thousands of files: each of
#   these passes all tests and fails with the service. Test the limits without a server, and the rest on both.
set -euo pipefail
folder=$(mktemp -d)
stop() {
  if [ -f "$folder/pid" ]; then kill "$(cat "$folder/pid")" 2> /dev/null || true; fi
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'moto[server]==5.2.5'
python3 -m venv "$folder/other"
"$folder/other/bin/python" -m pip install --quiet --disable-pip-version-check ministack==1.5.33
cd "$folder"
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1
"$folder/venv/bin/python" - <<'PY'
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET, PART = "chat", 1_000
BAD_MD5, BAD_CRC = "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAA=="


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def parts(client):
    where = {"Bucket": BUCKET, "Key": "parts"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    sent = [
        {"PartNumber": number, "ETag": client.upload_part(
            **where, UploadId=upload, PartNumber=number, Body=b"x" * PART)["ETag"]}
        for number in (1, 2)
    ]
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": sent})


def put(client, key="a.txt", **more):
    client.put_object(Bucket=BUCKET, Key=key, Body=b"text", **more)


REQUESTS = {
    "a wrong MD5": lambda client: put(client, ContentMD5=BAD_MD5),
    "a wrong CRC32": lambda client: put(client, ChecksumCRC32=BAD_CRC),
    "parts of 1,000 bytes": parts,
    "a key of 1,025 bytes": lambda client: put(client, key="k" * 1_025),
    "3 kB of metadata": lambda client: put(client, Metadata={"name": "x" * 3_000}),
    "1,001 deletions": lambda client: client.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": str(number)} for number in range(1_001)]}),
    "If-None-Match of one that is there": lambda client: put(client, key="there", IfNoneMatch="*"),
}


def ask(request, client):
    try:
        request(client)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "taken"


def answers(command, **environment):
    port = free_port()
    command = [str(port) if word == "PORT" else word for word in command]
    server = subprocess.Popen(
        command, env={**os.environ, **{name: str(port) for name in environment}},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    Path("pid").write_text(str(server.pid))
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="there", Body=b"0123456789")
    seen = {name: ask(request, client) for name, request in REQUESTS.items()}
    server.terminate()
    server.wait()
    Path("pid").unlink()
    return seen


other = Path.cwd() / "other/bin"
seen = {
    "moto": answers([sys.executable, "-m", "moto.server", "-p", "PORT"]),
    "ministack": answers([str(other / "ministack")], GATEWAY_PORT=""),
}
of_other = subprocess.run(
    [other / "python", "-c", "from importlib.metadata import version; print(version('ministack'))"],
    capture_output=True, text=True, check=True,
).stdout.strip()
print("moto", version("moto"), " ministack", of_other, " boto3", version("boto3"))
print("guess: each is refused")
for name, results in seen.items():
    print(f"seen:  {name}:", results)
for_both = {"a key of 1,025 bytes": "taken", "3 kB of metadata": "taken", "1,001 deletions": "taken",
            "If-None-Match of one that is there": "PreconditionFailed"}
if seen != {
    "moto": {"a wrong MD5": "taken", "a wrong CRC32": "taken", "parts of 1,000 bytes": "EntityTooSmall", **for_both},
    "ministack": {"a wrong MD5": "BadDigest", "a wrong CRC32": "BadDigest", "parts of 1,000 bytes": "taken", **for_both},
}:
    sys.exit("The behaviour has changed.")
PY
