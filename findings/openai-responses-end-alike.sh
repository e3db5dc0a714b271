#!/usr/bin/env bash
# Guess: a stream of the Responses API, whose events have names for each end, raises when the answer failed; and the helper
#   gives the final response of an answer that was cut at its length, with `status` "incomplete" and its text.
# True: the loop of `responses.create(stream=True)` ends without an exception for `response.failed`, for an `error` event, and
#   for a body that is cut in the middle; in Chat Completions an error within a frame raises. `get_final_response()` of
#   `responses.stream()` raises a plain RuntimeError ("Didn't receive a `response.completed` event") for all of these, and for
#   `response.incomplete` too, although that event has the response with its text and its usage.
# For a chat like ours: `except openai.APIError` catches none of it. An answer that was cut at `max_output_tokens` is lost with
#   what it cost, or a failed one is stored as whole. Look at the last event: only `response.completed` is an answer,
#   and `response.incomplete` a cut one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.57.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import openai

PART = {"type": "output_text", "text": "", "annotations": []}
ITEM = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "input_tokens_details": {"cached_tokens": 0},
         "output_tokens_details": {"reasoning_tokens": 0}}
ERROR = {"code": "server_error", "message": "overloaded"}


def response(status, **more):
    output = [] if status == "in_progress" else [{**ITEM, "status": status, "content": [{**PART, "text": "Five days"}]}]
    return {"id": "r", "object": "response", "created_at": 1, "status": status, "model": "m", "output": output, "tools": [],
            "parallel_tool_calls": True, "tool_choice": "auto", "error": None, "incomplete_details": None, **more}


START = (
    {"type": "response.created", "response": response("in_progress")},
    {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
    {"type": "response.content_part.added", **PLACE, "part": PART},
    {"type": "response.output_text.delta", **PLACE, "delta": "Five days", "logprobs": []},
)
CUT = {"usage": USAGE, "incomplete_details": {"reason": "max_output_tokens"}}
ENDS = {
    "completed": ({"type": "response.completed", "response": response("completed", usage=USAGE)},),
    "cut at its length": ({"type": "response.incomplete", "response": response("incomplete", **CUT)},),
    "failed": ({"type": "response.failed", "response": response("failed", error=ERROR)},),
    "error event": ({"type": "error", **ERROR, "param": None},),
    "body cut": (),
}
shown = {"events": ()}


class Model(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        events = [{**event, "sequence_number": number} for number, event in enumerate(shown["events"])]
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}", api_key="none", max_retries=0)


def by_loop():
    try:
        return [event.type for event in client.responses.create(model="m", input="?", stream=True)][-1]
    except openai.APIError as error:
        return type(error).__name__


def by_helper():
    try:
        with client.responses.stream(model="m", input="?") as stream:
            final = stream.get_final_response()
    except (openai.APIError, RuntimeError) as error:
        return type(error).__name__
    return final.output_text


seen = {}
for end, events in ENDS.items():
    shown["events"] = START + events
    seen[end] = by_loop(), by_helper()
print("openai", version("openai"))
print("guess: an APIError for failed, error event and body cut; the text for the other two")
for end, (loop, helper) in seen.items():
    print(f"seen:  {end}: the loop ends with {loop}; the helper: {helper}")
if seen != {
    "completed": ("response.completed", "Five days"),
    "cut at its length": ("response.incomplete", "RuntimeError"),
    "failed": ("response.failed", "RuntimeError"),
    "error event": ("error", "RuntimeError"),
    "body cut": ("response.output_text.delta", "RuntimeError"),
}:
    sys.exit("The behaviour has changed.")
PY
