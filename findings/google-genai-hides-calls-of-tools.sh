#!/usr/bin/env bash
# Guess: one `send_message` of a Google chat with a Python function as a tool is one model call, or else the usage of
#   the answer is that of all calls that it took.
# True: google-genai runs the function and asks again by itself, up to ten times. The answer comes from the last call,
#   and so does its `usage_metadata`. Here four calls with 4,600 tokens of prompt are reported as 1,300. The history of
#   the chat has the messages in between, without a usage. While streaming, each call's usage can be seen in its chunks,
#   and the last one is again only that of the last call.
# For a chat like ours: an answer that used tools is charged a part of its price, the smaller the more it used them, and
#   a limit of calls counts one. Switch it off (`automatic_function_calling.disable`), and run the tools oneself; or
#   stream, and add the usage of each call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check google-genai==3.6.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from google import genai
from google.genai import types

reported = []


class Server(BaseHTTPRequestHandler):
    """Asks for three orders, one a call, and then answers."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results = sum("functionResponse" in part for content in request["contents"] for part in content["parts"])
        reported.append(1000 + 100 * results)
        part = {"functionCall": {"name": "get_order", "args": {"number": str(results)}}}
        if results == 3:
            part = {"text": "All three orders are paid."}
        answer = {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {
                "promptTokenCount": reported[-1], "candidatesTokenCount": 10, "totalTokenCount": reported[-1] + 10
            },
        }
        streamed = "alt=sse" in self.path
        body = (f"data: {json.dumps(answer)}\n\n" if streamed else json.dumps(answer)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def get_order(number: str) -> str:
    """Look up an order."""
    return "paid"


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = genai.Client(
    api_key="none", http_options=types.HttpOptions(base_url=f"http://127.0.0.1:{server.server_port}")
)
TOOLS = types.GenerateContentConfig(tools=[get_order])
answer = client.chats.create(model="m", config=TOOLS).send_message("Are my orders paid?")
whole = (len(reported), sum(reported), answer.usage_metadata.prompt_token_count)
reported.clear()
chunks = list(client.chats.create(model="m", config=TOOLS).send_message_stream("Are my orders paid?"))
streamed = (len(reported), sum(reported), [chunk.usage_metadata.prompt_token_count for chunk in chunks])
print("google-genai", version("google-genai"))
print("guess: 1 call, or a usage of all calls")
print(f"seen:  send_message: {whole[0]} calls of {whole[1]} tokens of prompt; the answer reports {whole[2]}")
print(f"seen:  send_message_stream: {streamed[0]} calls of {streamed[1]}; the chunks report {streamed[2]}")
if whole != (4, 4600, 1300) or streamed != (4, 4600, [1000, 1100, 1200, 1300]):
    sys.exit("The behaviour has changed.")
PY
