#!/usr/bin/env bash
# Guess: with CHAINLIT_ROOT_PATH=/chat, the login cookie is valid below /chat only.
# True: the login cookie has the path "/" whatever is set, also with CHAINLIT_AUTH_COOKIE_PATH=/chat.
# For a chat like ours: two chats on one host, at /a and /b, overwrite each other's logins. Set the path in the response.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
export CHAINLIT_ROOT_PATH=/chat CHAINLIT_AUTH_COOKIE_PATH=/chat
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from chainlit.auth.cookie import set_auth_cookie
from fastapi import Request, Response

response = Response()
set_auth_cookie(Request({"type": "http", "headers": []}), response, "token")
seen = next(part for part in response.headers["set-cookie"].split("; ") if part.startswith("Path="))
print("chainlit", version("chainlit"), "with CHAINLIT_ROOT_PATH and CHAINLIT_AUTH_COOKIE_PATH=/chat")
print("seen: ", seen)
print("guess: Path=/chat")
if seen != "Path=/":
    sys.exit("The behaviour has changed.")
PY
