#!/usr/bin/env bash
# Guess: `chat.completions.stream()`, the helper that gathers a streamed answer, gives for plain text what the loop over
#   chunks gives: an answer cut at `max_tokens` ends with `finish_reason` "length", and a role or an identifier that the
#   server repeats in each chunk is still that role.
# True: without any `response_format` it raises LengthFinishReasonError for an answer that is cut at its length, and
#   ContentFilterFinishReasonError for a filtered one. Each text field of a delta but `type` is appended: a server that
#   repeats them gives the role "assistantassistant", a tool named "look_uplook_up", an identifier twice as long. A second
#   chunk with `annotations` raises RuntimeError, since OpenAI's own annotations have no index. The plain loop shows none
#   of this.
# For a chat like ours: behind one address stand servers of many makes, and an answer cut at its length is an answer to
#   keep. Loop over the chunks; take role, name and identifier from the first that has them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openai==3.52.0 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import sys

import httpx
import openai


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def call(arguments):
    function = {"name": "look_up", "arguments": arguments}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


def source(url):
    citation = {"url": url, "title": "Refunds", "start_index": 0, "end_index": 7}
    return {"annotations": [{"type": "url_citation", "url_citation": citation}]}


TEXT = chunk({"role": "assistant", "content": "Refunds take"})
STREAMS = {
    "cut at its length": TEXT + chunk({}, "length"),
    "filtered": TEXT + chunk({}, "content_filter"),
    "role in each chunk": TEXT + chunk({"role": "assistant", "content": " five days"}) + chunk({}, "stop"),
    "tool call in each chunk": chunk({"role": "assistant", **call('{"order": ')}) + chunk(call("7}")) + chunk({}, "tool_calls"),
    "two sources": TEXT + chunk(source("https://example.org/a")) + chunk(source("https://example.org/b")) + chunk({}, "stop"),
}


def answer(request):
    body = STREAMS[json.loads(request.content)["model"]] + "data: [DONE]\n\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)


def gathered(client, model):
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "?"}]) as stream:
        choice = stream.get_final_completion().choices[0]
    calls = [(one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls or ()]
    return choice.finish_reason, choice.message.role, *calls


def looped(client, model):
    chunks = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}], stream=True)
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1]


transport = httpx.MockTransport(answer)
client = openai.OpenAI(api_key="none", base_url="http://localhost/v1", http_client=httpx.Client(transport=transport))
print("openai", openai.__version__)
print("guess: no exception; the role is 'assistant', the call ('call_1', 'look_up', '{\"order\": 7}')")
seen = {}
for model in STREAMS:
    try:
        seen[model] = gathered(client, model)
    except (openai.OpenAIError, RuntimeError) as error:
        seen[model] = type(error).__name__
    print(f"seen:  {model}: {seen[model]}; the plain loop: {looped(client, model)}")
if seen != {
    "cut at its length": "LengthFinishReasonError",
    "filtered": "ContentFilterFinishReasonError",
    "role in each chunk": ("stop", "assistantassistant"),
    "tool call in each chunk": ("tool_calls", "assistant", ("call_1call_1", "look_uplook_up", '{"order": 7}')),
    "two sources": "RuntimeError",
}:
    sys.exit("The behaviour has changed.")
PY
