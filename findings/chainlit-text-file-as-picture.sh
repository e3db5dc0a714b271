#!/usr/bin/env bash
# Guess: a text file that a chat sends as `cl.File` has no type of its own, or text/plain.
# True: Chainlit asks `filetype`, which looks at the first bytes only, and two or three letters are enough for it. A text that
#   begins with "BM" ("BMW ...") is image/bmp, one that begins with "ID3" is audio/mpeg, and the file's name is asked
#   only when the bytes say nothing.
# For a chat like ours: a price list for BMW is stored, listed and offered as a picture. Give `mime=` when the type is
#   known, and trust the name before the first letters.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0 filetype==1.2.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import chainlit as cl
from chainlit.context import init_http_context

TEXTS = {
    "cars.txt": "Audi, BMW: prices of this year\n",
    "bmw.txt": "BMW, Audi: prices of this year\n",
    "music.md": "ID3 tags name the artist\n",
}


async def main():
    init_http_context()
    types = {}
    for name, text in TEXTS.items():
        file = cl.File(name=name, content=text.encode(), display="inline")
        await file.send(for_id="a message", persist=False)
        types[name] = file.mime
    return types


types = asyncio.run(main())
print("chainlit", version("chainlit"), " filetype", version("filetype"))
for name, kind in types.items():
    print(f"{name} ({TEXTS[name].split()[0]} ...): {kind}")
print("guess: text/plain or text/markdown for all")
if types != {
    "cars.txt": "text/plain",
    "bmw.txt": "image/bmp",
    "music.md": "audio/mpeg",
}:
    sys.exit("The behaviour has changed.")
PY
