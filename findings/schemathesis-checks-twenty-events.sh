#!/usr/bin/env bash
# Guess: a description of an API says of a `text/event-stream` answer that it is a string, and schemathesis checks that;
#   or it gives the schema of an event, and all events of an answer are checked.
# True: in OpenAPI 3.0 and 3.1, schemathesis reads `schema` as that of one event, an object with `event` and `data`, both
#   strings; "a string" is a failure. In 3.2, `schema` is that of the list of events and `itemSchema` that of one. It
#   stops after 20 events, and what comes later is not looked at: an answer's last event, with the usage, the end or the
#   error, passes whatever it holds. A frame at the end without its blank line, which readers of event streams drop, is
#   checked. `data: [DONE]` fails where `data` is described as JSON.
# For a chat like ours: a stream of tokens has its interesting events at the end. Check these by a test of their own, or
#   keep the answers of the test below 20 events.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import re
import sys
from importlib.metadata import version

import schemathesis

TOKEN = "event: token\ndata: five\n\n"
EVENT = {"type": "object", "properties": {"event": {"const": "token"}}, "required": ["event", "data"]}
PAYLOAD = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"type": "object"}}
JSON = {"type": "object", "properties": {"data": PAYLOAD}}
END = "event: wrong\ndata: end\n\n"
# The version of OpenAPI, what describes the answer, the answer, and whether schemathesis accepts it.
CASES = {
    "a string": ("3.1.0", {"schema": {"type": "string"}}, TOKEN, False),
    "an event": ("3.1.0", {"schema": EVENT}, TOKEN, True),
    "3.2, a list": ("3.2.0", {"schema": {"type": "array"}}, TOKEN, True),
    "3.2, an event": ("3.2.0", {"itemSchema": EVENT}, TOKEN, True),
    "event 20 is wrong": ("3.1.0", {"schema": EVENT}, 19 * TOKEN + END, False),
    "event 21 is wrong": ("3.1.0", {"schema": EVENT}, 20 * TOKEN + END, True),
    "wrong, without its blank line": ("3.1.0", {"schema": EVENT}, TOKEN + END.rstrip(), False),
    "[DONE] after JSON": ("3.1.0", {"schema": JSON}, 'data: {"text": "five"}\n\ndata: [DONE]\n\n', False),
}


def application(body):
    async def serve(scope, receive, send):
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})

    return serve


def accepted(openapi, description, body):
    """Whether schemathesis accepts the answer, and its complaint."""
    answers = {"200": {"description": "An answer", "content": {"text/event-stream": description}}}
    schema = schemathesis.openapi.from_dict(
        {"openapi": openapi, "info": {"title": "Chat", "version": "1"}, "paths": {"/ask": {"get": {"responses": answers}}}}
    )
    schema.app = application(body)
    try:
        schema["/ask"]["GET"].Case().call_and_validate()
    except BaseExceptionGroup as failures:
        return False, re.sub(r"\s+", " ", str(failures.exceptions[0]))[:100]
    return True, ""


print("schemathesis", version("schemathesis"))
print("guess: 'a string' is accepted, event 21 is refused")
seen = {}
for name, (*arguments, _) in CASES.items():
    seen[name], complaint = accepted(*arguments)
    print(f"seen:  {name}: {'accepted' if seen[name] else 'refused'} {complaint}")
if seen != {name: case[3] for name, case in CASES.items()}:
    sys.exit("The behaviour has changed.")
PY
