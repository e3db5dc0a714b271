#!/usr/bin/env bash
# Guess: what keeps a stream of events open, such as a comment, `event: ping` without data or `retry: 3000`, is passed over
#   by each provider's library, as the standard of server-sent events asks and as browsers do.
# True: three ways. OpenAI's and Groq's pass over a comment, but hand any other event without data to the JSON parser: a
#   JSONDecodeError in the middle of an answer, which is none of their own errors. Google's raises for a comment too, and
#   for other lines beside the data. Anthropic's, Mistral's and Cohere's pass over all of these.
# For a chat like ours: a gateway or proxy that keeps long answers alive must choose its sign by the reader. A comment suits
#   all but Google's, and for that one nothing does. Write comments only; and catch more than the library's own errors
#   around a stream, or the half answer is lost with them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.57.0 anthropic==2.14.0 \
  google-genai==3.6.1 mistralai==3.7.0 cohere==7.3.1 groq==1.7.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import anthropic
import cohere
import groq
import openai
from google import genai
from mistralai.client import Mistral

SIGNS = {
    "nothing": "",
    "comment": ": keep-alive\n\n",
    "event without data": "event: ping\n\n",
    "retry": "retry: 3000\n\n",
    "id": "id: 7\n\n",
}
ASK = [{"role": "user", "content": "?"}]
sign = ""


def event(body, name=None):
    return sign + (f"event: {name}\n" if name else "") + f"data: {json.dumps(body)}\n\n"


def as_openai(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def as_google(text, **more):
    return event({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **more}]})


def named(kind, **fields):
    return event({"type": kind, **fields}, kind)


def stream(path):
    if "streamGenerateContent" in path:
        return as_google("Five") + as_google(" days", finishReason="STOP")
    if path.endswith("/messages"):
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
        texts = [{"type": "text_delta", "text": text} for text in ("Five", " days")]
        return "".join((
            named("message_start", message=message | {"stop_reason": None, "stop_sequence": None}),
            named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(named("content_block_delta", index=0, delta=text) for text in texts),
            named("content_block_stop", index=0),
            named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
            named("message_stop"),
        ))
    if path.startswith("/v2/chat"):
        texts = [{"message": {"content": {"text": text}}} for text in ("Five", " days")]
        return "".join(named("content-delta", index=0, delta=text) for text in texts)
    return as_openai({"content": "Five"}) + as_openai({"content": " days"}) + as_openai({}, "stop") + "data: [DONE]\n\n"


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"] or 0))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(stream(self.path).encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"
CHAT = {"model": "m", "messages": ASK}
openai_client = openai.OpenAI(api_key="none", base_url=f"{URL}/v1", max_retries=0)
groq_client = groq.Groq(api_key="none", base_url=URL, max_retries=0)
anthropic_client = anthropic.Anthropic(api_key="none", base_url=URL, max_retries=0)
google_client = genai.Client(api_key="none", http_options={"base_url": URL})
mistral_client = Mistral(api_key="none", server_url=URL)
cohere_client = cohere.ClientV2(api_key="none", base_url=URL)


def of_chunks(client):
    for chunk in client.chat.completions.create(**CHAT, stream=True):
        yield chunk.choices[0].delta.content or ""


def of_anthropic():
    with anthropic_client.messages.stream(**CHAT, max_tokens=9) as answer:
        yield from answer.text_stream


READERS = {
    "openai": lambda: of_chunks(openai_client),
    "groq": lambda: of_chunks(groq_client),
    "google-genai": lambda: (
        chunk.text or "" for chunk in google_client.models.generate_content_stream(model="m", contents="?")
    ),
    "anthropic": of_anthropic,
    "mistralai": lambda: (
        str(one.data.choices[0].delta.content or "") for one in mistral_client.chat.stream(**CHAT)
    ),
    "cohere": lambda: (one.delta.message.content.text for one in cohere_client.chat_stream(**CHAT)),
}


def outcome(read):
    try:
        return "".join(read())
    except Exception as error:
        return type(error).__name__


seen = {}
for name, read in READERS.items():
    for what, sign in SIGNS.items():
        seen[name, what] = outcome(read)
print(*(f"{name} {version(name)}" for name in READERS))
print("guess: 'Five days' for all")
for name in READERS:
    print(f"seen:  {name}:", ", ".join(f"{what}: {seen[name, what]}" for what in SIGNS))
FAILS = {**dict.fromkeys(("openai", "groq"), "JSONDecodeError"), "google-genai": "UnknownApiResponseError"}
for (name, what), text in seen.items():
    fails = name in FAILS and what != "nothing" and (what != "comment" or name == "google-genai")
    if text != (FAILS[name] if fails else "Five days"):
        sys.exit("The behaviour has changed.")
PY
