#!/usr/bin/env bash
# Guess: `chat.completions.stream()` gives the same final answer in OpenAI's library for JavaScript as in that for Python.
# True: for an answer that is cut before its `finish_reason`, JavaScript's raises and Python's returns what came. For one
#   that ends at its length it is the other way round. A name of a tool that is repeated in each chunk stays one name in
#   JavaScript and is doubled in Python. Of two chunks with a source each, JavaScript's keeps the last source, without a
#   word, and Python's raises. The loop over the chunks is alike in both, and raises for none of these.
# For a chat like ours: a page and a server that gather the same stream disagree on whether it is whole and what it cites.
#   Gather from the chunks, in one place, and store what the server has gathered.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.52.0
cd "$folder"
npm install --silent --no-fund --no-audit openai@6.49.0 >"$folder/log" 2>&1
cat >gather.mjs <<'JS'
import OpenAI from "openai";
const client = new OpenAI({ apiKey: "none", baseURL: process.argv[2], maxRetries: 0 });
const seen = {};
for (const model of process.argv.slice(3)) {
  try {
    const stream = client.chat.completions.stream({ model, messages: [{ role: "user", content: "?" }] });
    const { finish_reason, message } = (await stream.finalChatCompletion()).choices[0];
    const names = (message.tool_calls ?? []).map((call) => call.function.name);
    const sources = (message.annotations ?? []).map((one) => one.url_citation.url);
    seen[model] = [finish_reason, names, sources];
  } catch (error) {
    seen[model] = "raises";
  }
}
console.log(JSON.stringify(seen));
JS
"$folder/venv/bin/python" - <<'PY'
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def call(arguments):
    function = {"name": "look_up", "arguments": arguments}
    return chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})


def source(url):
    return chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": url, "title": "Refunds"}}]})


TEXT = chunk({"role": "assistant", "content": "Refunds take"})
STREAMS = {
    "whole": TEXT + chunk({}, "stop"),
    "cut": TEXT,
    "at its length": TEXT + chunk({}, "length"),
    "repeated name": TEXT + call('{"order": ') + call("7}") + chunk({}, "tool_calls"),
    "two sources": TEXT + source("a") + source("b") + chunk({}, "stop"),
}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        end = "" if asked["model"] == "cut" else "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write((STREAMS[asked["model"]] + end).encode())

    def log_message(self, *_):
        pass


def gathered(client, model):
    try:
        with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "?"}]) as stream:
            choice = stream.get_final_completion().choices[0]
    except (openai.OpenAIError, RuntimeError):
        return "raises"
    names = [one.function.name for one in choice.message.tool_calls or ()]
    return [choice.finish_reason, names, [one.url_citation.url for one in choice.message.annotations or ()]]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)
python = {model: gathered(client, model) for model in STREAMS}
command = ["node", "gather.mjs", url, *STREAMS]
javascript = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
server.shutdown()
print("openai", openai.__version__, "(Python), 6.49.0 (JavaScript)")
print("guess: both alike: finish_reason, names of tools, sources")
for model in STREAMS:
    print(f"seen:  {model}: Python {python[model]}, JavaScript {javascript[model]}")
whole = ["stop", [], []]
if python != {
    "whole": whole,
    "cut": [None, [], []],
    "at its length": "raises",
    "repeated name": ["tool_calls", ["look_uplook_up"], []],
    "two sources": "raises",
} or javascript != {
    "whole": whole,
    "cut": "raises",
    "at its length": ["length", [], []],
    "repeated name": ["tool_calls", ["look_up"], []],
    "two sources": ["stop", [], ["b"]],
}:
    sys.exit("The behaviour has changed.")
PY
