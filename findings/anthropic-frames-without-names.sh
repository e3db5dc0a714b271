#!/usr/bin/env bash
# Guess: Anthropic's SDK reads each frame of a stream by the `type` in its data, which is there beside the `event:` line,
#   and an answer that it cannot read raises.
# True: it reads the `event:` line only. From a server or a proxy that sends `data:` alone, as OpenAI's format does, the
#   loop over the events ends at once: no event, no text, no usage, no exception. The helper `stream()` raises a bare
#   AssertionError at its end. A stream that stops before its `message_delta` is a message with the text so far, without
#   a stop reason and with the output tokens of the first event, often 1; nothing raises there either.
# For a chat like ours: an empty answer is stored as a good one, and a cut one is priced at a token. Treat an answer
#   without `message_stop` as broken, and its tokens as unknown.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check anthropic==2.14.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic

MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Refunds take five days."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]


def frames(events, named=True):
    return "".join(
        (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events
    ).encode()


STREAMS = {"whole": frames(EVENTS), "without names": frames(EVENTS, named=False), "cut": frames(EVENTS[:3])}
ASK = {"max_tokens": 99, "messages": [{"role": "user", "content": "?"}]}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(STREAMS[asked["model"]])

    def log_message(self, *_):
        pass


def looped(client, model):
    return sum(1 for _ in client.messages.create(model=model, stream=True, **ASK))


def gathered(client, model):
    try:
        with client.messages.stream(model=model, **ASK) as stream:
            message = stream.get_final_message()
    except AssertionError as error:
        return type(error).__name__
    return message.content[0].text, message.stop_reason, message.usage.output_tokens


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = anthropic.Anthropic(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}", max_retries=0)
seen = {model: (looped(client, model), gathered(client, model)) for model in STREAMS}
server.shutdown()
print("anthropic", anthropic.__version__)
print("guess: 'without names' is read as 'whole' or raises; 'cut' raises")
for model, (count, outcome) in seen.items():
    print(f"seen:  {model}: {count} events; stream(): {outcome}")
if seen != {
    "whole": (6, ("Refunds take five days.", "end_turn", 7)),
    "without names": (0, "AssertionError"),
    "cut": (3, ("Refunds take five days.", None, 1)),
}:
    sys.exit("The behaviour has changed.")
PY
