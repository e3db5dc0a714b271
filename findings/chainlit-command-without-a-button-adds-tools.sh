#!/usr/bin/env bash
# Guess: a command without `button` is one that a person types ("/search"); only `button: True` puts something beside the
#   text field.
# True: one such command puts a button "Tools" there, which opens the list of all commands without a button; it is not
#   there if all commands have one. Its word comes from Chainlit's own texts, not from the command. With `button: True`, the
#   command's name is the button, and "Tools" goes.
# For a chat like ours: commands that were meant for those who know them change everybody's page, under a word that suits
#   a model's tools and not, say, "export". Change `chat.commands.button` in the texts of the page, or hide `#command-button`
#   by a style of your own.
# Needs Chromium (`CHROMIUM_PATH`, or in the search path).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
CHROMIUM_PATH=${CHROMIUM_PATH:-$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome)}
export CHROMIUM_PATH
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0 playwright==1.65.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import os
import socket
import sys
from importlib.metadata import version

import chainlit as cl
import uvicorn
from playwright.async_api import async_playwright

SEARCH = {"id": "search", "description": "Search", "icon": "search"}
COMMANDS = {"none": [], "without a button": [{**SEARCH, "button": False}], "with a button": [{**SEARCH, "button": True}]}
shown = {"commands": []}


@cl.on_chat_start
async def on_chat_start():
    await cl.context.emitter.set_commands(shown["commands"])
    await cl.Message("Where to?").send()


from chainlit.server import app  # noqa: E402


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    seen = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM_PATH"], args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        for name, commands in COMMANDS.items():
            shown["commands"] = commands
            page = await browser.new_page(locale="en-US")
            await page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            await page.get_by_text("Where to?").wait_for()
            await page.wait_for_timeout(1_000)
            buttons = await page.locator("#message-composer button").all()
            seen[name] = [await button.inner_text() for button in buttons if await button.inner_text()]
            await page.close()
        await browser.close()
    server.should_exit = True
    await serving
    return seen


seen = asyncio.run(main())
print("chainlit", version("chainlit"), " playwright", version("playwright"))
print("guess: none: [], without a button: [], with a button: ['search']")
for name, words in seen.items():
    print(f"seen:  {name}:", words)
if seen != {"none": [], "without a button": ["Tools"], "with a button": ["search"]}:
    sys.exit("The behaviour has changed.")
PY
