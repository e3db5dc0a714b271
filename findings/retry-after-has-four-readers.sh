#!/usr/bin/env bash
# Guess: a client of a model server that retries after status 429 waits as long as `Retry-After` says, and ends by its
#   own `timeout` in any case.
# True: four SDKs read that header in four ways, and no timeout counts the wait. With a timeout of 10 seconds and two
#   retries: Anthropic's sleeps as long as it is told. OpenAI's sleeps up to two minutes a retry, and does not retry at
#   all when it is told more. Cohere's sleeps for a minute at most, and then asks too early. Google's never looks at the
#   header: its retries come after a second or two.
# For a chat like ours: one used-up quota leaves users before a spinner for minutes, with some clients, and with others
#   the retries go to a server that has just said no. Set `max_retries=0`, and wait where the user can see it and
#   stop it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  openai==3.52.0 anthropic==2.14.0 cohere==7.3.1 google-genai==3.6.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import anthropic
import cohere
import openai
from google import genai
from google.genai import types

ASK = [{"role": "user", "content": "How long does a refund take?"}]
TOLD = ("30", "90", "180")
BODY = json.dumps({"error": {"code": 429, "message": "Too many requests", "type": "rate_limit_error"}}).encode()
told, requests, waits = [""], [0], []


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        requests[0] += 1
        self.send_response(429)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))):
            self.send_header(name, value)
        self.send_header("Retry-After", told[0])
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"
google = genai.Client(
    api_key="none",
    http_options=types.HttpOptions(
        base_url=URL, timeout=10_000, retry_options=types.HttpRetryOptions(attempts=3)
    ),
)
CLIENTS = {
    "openai": lambda: openai.OpenAI(api_key="none", base_url=URL, timeout=10).chat.completions.create(
        model="m", messages=ASK
    ),
    "anthropic": lambda: anthropic.Anthropic(api_key="none", base_url=URL, timeout=10).messages.create(
        model="m", max_tokens=9, messages=ASK
    ),
    "cohere": lambda: cohere.ClientV2(api_key="none", base_url=URL, timeout=10).chat(model="m", messages=ASK),
    "google-genai": lambda: google.models.generate_content(model="m", contents="How long does a refund take?"),
}
ERRORS = (openai.RateLimitError, anthropic.RateLimitError, cohere.TooManyRequestsError, genai.errors.ClientError)
main, sleep = threading.get_ident(), time.sleep


def recorded(seconds):
    """Note the wait of a client in place of it."""
    if threading.get_ident() == main:
        waits.append(round(seconds))
    else:
        sleep(seconds)


time.sleep = recorded
seen = {}
for name, ask in CLIENTS.items():
    for told[0] in TOLD:
        requests[0] = 0
        waits.clear()
        try:
            ask()
        except ERRORS as error:
            seen[name, told[0]] = (requests[0], *waits)
            print(f"seen:  {name} {version(name)}, Retry-After: {told[0]}: {requests[0]} requests,",
                  f"waits {waits}, {type(error).__name__}")
print("guess: 3 requests, each wait as told, all within the timeout of 10 seconds")
GOOGLE = {key: value for key, value in seen.items() if key[0] == "google-genai"}
if {key: value for key, value in seen.items() if key not in GOOGLE} != {
    ("openai", "30"): (3, 30, 30),
    ("openai", "90"): (3, 90, 90),
    ("openai", "180"): (1,),
    ("anthropic", "30"): (3, 30, 30),
    ("anthropic", "90"): (3, 90, 90),
    ("anthropic", "180"): (3, 180, 180),
    ("cohere", "30"): (3, 30, 30),
    ("cohere", "90"): (3, 60, 60),
    ("cohere", "180"): (3, 60, 60),
} or any(count != 3 or len(pauses) != 2 or max(pauses) > 4 for count, *pauses in GOOGLE.values()) or len(GOOGLE) != 3:
    sys.exit("The behaviour has changed.")
PY
