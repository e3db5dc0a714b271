#!/usr/bin/env bash
# Guess: each login has a token of its own: signing out in one browser, or revoking one login, leaves the other alone.
# True: Chainlit's token is the user with the second of the login and of its end. Two logins of a user within one second,
#   from two browsers or from a page that is sent twice, have the same token, byte for byte.
# For a chat like ours: a list of logins that tells them apart by their token has one row for two browsers, and ending it
#   ends both. Name a login by something random of its own, or say that it may be more than one browser.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
export CHAINLIT_AUTH_SECRET=only-for-this-script-0123456789abcdef
"$folder/venv/bin/python" - 2>"$folder/log" <<'PY' || { cat "$folder/log"; exit 1; }
import sys
import time
from importlib.metadata import version

from chainlit.auth import create_jwt
from chainlit.user import User

ANN = User(identifier="ann", metadata={"role": "user"})
time.sleep(1 - time.time() % 1)
within_a_second = create_jwt(ANN), create_jwt(ANN)
time.sleep(1.1)
later = create_jwt(ANN)
print("chainlit", version("chainlit"))
print("guess: three logins, three tokens")
print("seen:  tokens of two logins within a second:", len(set(within_a_second)), " a second later:", len({*within_a_second, later}))
if len(set(within_a_second)) != 1 or later in within_a_second:
    sys.exit("The behaviour has changed.")
PY
