#!/usr/bin/env bash
# Guess: a stream of events is a text of lines, so a function that gives the lines of a response reads it; so do clients of
#   server-sent events. The same holds for JSON Lines and `str.splitlines()`.
# True: lines of the standard end with LF, CR or both. Python's lines end with U+0085, U+2028, U+2029 too, and these may
#   stand in JSON as they are: a server that writes JSON without escapes (`ensure_ascii=False`, or Pydantic's own JSON)
#   sends them when a model does, and texts copied from Word processors and PDFs have them. `iter_lines` of httpx and the
#   client aiosseclient then cut the event in its middle, which is a JSONDecodeError. httpx-sse, sseclient-py and
#   aiohttp-sse-client2 read it whole, as the libraries of OpenAI, Anthropic, Google, Mistral, Cohere, Groq and Together do.
# For a chat like ours: one answer in thousands breaks off at such a character, each time at the same place, and nobody can
#   see why. Split bytes at b"\n", or `text.split("\n")`, and never with `splitlines`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  aiosseclient==0.1.8 aiohttp==3.14.5 aiohttp-sse-client2==0.3.0 httpx==0.28.1 httpx-sse==0.4.3 sseclient-py==1.9.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import aiosseclient
import httpx
import httpx_sse
import sseclient
from aiohttp_sse_client2 import client as aiohttp_sse

SIGNS = {"none": "", "U+0085": "\x85", "U+2028": "\u2028", "U+2029": "\u2029"}
END = "[DONE]"
shown = {"text": ""}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        event = json.dumps({"text": shown["text"]}, ensure_ascii=False)
        body = f"data: {event}\n\ndata: {END}\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/"


def text_of(events):
    """The texts of the events before the last one."""
    texts = []
    for data in events:
        if data == END:
            break
        texts.append(json.loads(data)["text"])
    return "".join(texts)


def by_httpx():
    with httpx.stream("GET", URL) as response:
        return text_of(line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: "))


def by_httpx_sse():
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", URL) as source:
        return text_of(event.data for event in source.iter_sse())


def by_sseclient():
    with httpx.stream("GET", URL) as response:
        return text_of(event.data for event in sseclient.SSEClient(response.iter_bytes()).events())


async def until_end(events):
    gathered = []
    async for event in events:
        gathered.append(event.data)
        if event.data == END:
            break
    return text_of(gathered)


async def by_aiohttp_sse():
    async with aiohttp_sse.EventSource(URL) as source:
        return await until_end(source)


READERS = {
    "httpx iter_lines": by_httpx,
    "aiosseclient": lambda: asyncio.run(until_end(aiosseclient.aiosseclient(URL))),
    "httpx-sse": by_httpx_sse,
    "sseclient-py": by_sseclient,
    "aiohttp-sse-client2": lambda: asyncio.run(by_aiohttp_sse()),
}


def read(reader):
    try:
        return "whole" if reader() == shown["text"] else "another text"
    except json.JSONDecodeError:
        return "JSONDecodeError"


seen = {name: {} for name in READERS}
for sign, character in SIGNS.items():
    shown["text"] = f"within{character}thirty days"
    for name, reader in READERS.items():
        seen[name][sign] = read(reader)
print(" ".join(f"{name} {version(name)} " for name in ("httpx", "aiosseclient", "httpx-sse", "sseclient-py", "aiohttp-sse-client2")))
print("guess: each reader gives the text whole")
for name, results in seen.items():
    print(f"seen:  {name}:", results)
cut = {name for name, results in seen.items() if set(list(results.values())[1:]) == {"JSONDecodeError"}}
whole = {name for name, results in seen.items() if set(results.values()) == {"whole"}}
if cut != {"httpx iter_lines", "aiosseclient"} or whole != set(READERS) - cut:
    sys.exit("The behaviour has changed.")
PY
