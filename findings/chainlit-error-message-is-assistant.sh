#!/usr/bin/env bash
# Guess: an error that the chat shows is not part of the conversation with the model.
# True: `cl.ErrorMessage` is added to Chainlit's chat context as an assistant message, and `chat_context.to_openai()`
#   passes its text on as something that the model has said. `is_error` is not looked at.
# For a chat like ours: after "The model is overloaded", the next question is sent with that sentence as the model's own
#   last answer: it costs tokens and the model apologises for it. Build the request without messages that are errors.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import chainlit as cl
from chainlit.context import init_http_context


async def main():
    init_http_context()
    await cl.Message("How long do refunds take?", type="user_message").send()
    error = await cl.ErrorMessage("The model is overloaded. Try again.").send()
    return error.is_error, cl.chat_context.to_openai()


is_error, request = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: one message, the user's")
print("seen: ", request, "is_error:", is_error)
if (is_error, [message["role"] for message in request]) != (True, ["user", "assistant"]):
    sys.exit("The behaviour has changed.")
PY
