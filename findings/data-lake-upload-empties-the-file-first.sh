#!/usr/bin/env bash
# Guess: `upload_data(new, overwrite=True)` of Azure's library for Data Lake replaces a file when all bytes are there, as
#   `upload_blob` does; without `overwrite` it makes a new file, or raises because there is one.
# True: it sends three kinds of requests. The first creates the file anew, which empties the one that was there; then come
#   the pieces, then the flush that shows them. Whoever reads meanwhile reads nothing, and when a piece fails, the old text is
#   lost and an empty file stays. Without `overwrite` it does not create at all: it appends to a file that has to exist.
# For a chat like ours: an upload that breaks off destroys what it was to replace, and a reader takes the empty file for the
#   document. Write under another name, and rename; create a new file with `create_file` and `If-None-Match: *`.
# The service is a server of this script that keeps the files and notes the requests.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check azure-storage-file-datalake==12.26.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError
from azure.storage.filedatalake import DataLakeServiceClient

files, requests, refused = {}, [], set()


class Service(BaseHTTPRequestHandler):
    """Creating, appending and flushing, as the REST API describes them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_PUT(self):
        url = urlsplit(self.path)
        name, query = url.path.rsplit("/", 1)[-1], parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        action = query.get("action", ["create"])[0]
        requests.append(action)
        if action == "create":
            files[name], status = {"flushed": b"", "appended": b""}, 201
        elif name not in files:
            status = 404
        elif action in refused:
            status = 403
        elif action == "append":
            files[name]["appended"] += body
            status = 202
        else:
            files[name]["flushed"] += files[name]["appended"]
            files[name]["appended"], status = b"", 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    do_PATCH = do_PUT


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = DataLakeServiceClient(
    f"http://127.0.0.1:{server.server_port}/account", AzureNamedKeyCredential("account", "a2V5"), retry_total=0
).get_file_system_client("chat")


def upload(name, text, **options):
    """The requests, the error if there is one, and what a reader of the file gets."""
    requests.clear()
    error = None
    try:
        client.get_file_client(name).upload_data(text, **options)
    except AzureError as raised:
        error = type(raised).__name__
    return list(requests), error, files[name]["flushed"] if name in files else None


first = upload("a.txt", b"old text", overwrite=True)
new = upload("b.txt", b"new text")
refused.add("append")
broken = upload("a.txt", b"new text", overwrite=True)
print("azure-storage-file-datalake", version("azure-storage-file-datalake"))
print("guess: after an upload that broke off, the old text; without overwrite, a new file")
print("seen:  overwrite=True:", first)
print("seen:  overwrite=True, a piece is refused:", broken)
print("seen:  without overwrite, of a new name:", new)
if (first, broken, new) != (
    (["create", "append", "flush"], None, b"old text"),
    (["create", "append"], "HttpResponseError", b""),
    (["append"], "ResourceNotFoundError", None),
):
    sys.exit("The behaviour has changed.")
PY
