#!/usr/bin/env bash
# Guess: one rule chooses the language of a Chainlit page: the texts of the page, its welcome text and what the application
#   reads as `session.language` agree, and a browser that prefers German to English gets German.
# True: there are three rules. The session takes the first tag of Accept-Language and ignores qualities. The texts are
#   those of the asked language, else of its first part, else of a neighbour ("fr" finds "fr-FR"). The welcome text is that
#   of exactly the asked tag: "de" does not find `chainlit_de-DE.md`, nor "de-AT", and both get the English `chainlit.md`.
# For a chat like ours: a browser set to "de" shows German buttons around an English welcome, and "en;q=0.2, de" is answered
#   in English. Negotiate once, by the header with its qualities, and give that one tag to all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
export CHAINLIT_AUTH_SECRET=only-for-this-script-0123456789abcdef
"$folder/venv/bin/python" - 2>"$folder/log" <<'PY' || { cat "$folder/log"; exit 1; }
import sys
from importlib.metadata import version
from pathlib import Path
from unittest.mock import AsyncMock

from chainlit.config import config
from chainlit.markdown import get_markdown_str
from chainlit.session import WebsocketSession

Path("chainlit.md").write_text("English welcome")
Path("chainlit_de-DE.md").write_text("German welcome")
english = config.load_translation("en-US")["navigation"]


def of_session(header):
    session = WebsocketSession(
        id="1",
        socket_id="2",
        emit=AsyncMock(),
        emit_call=AsyncMock(),
        user_env={},
        client_type="webapp",
        environ={"HTTP_ACCEPT_LANGUAGE": header},
    )
    return session.language


def of_texts(tag):
    return "English" if config.load_translation(tag)["navigation"] == english else "another language"


seen = {
    "session of 'en;q=0.2, de-DE'": of_session("en;q=0.2, de-DE"),
    "texts of de": of_texts("de"),
    "texts of de-AT": of_texts("de-AT"),
    "welcome of de-DE": get_markdown_str(".", "de-DE"),
    "welcome of de": get_markdown_str(".", "de"),
    "welcome of de-AT": get_markdown_str(".", "de-AT"),
}
print("chainlit", version("chainlit"))
print("guess: German everywhere")
for what, found in seen.items():
    print(f"seen:  {what}: {found}")
sys.exit(
    0
    if list(seen.values())
    == ["en", "another language", "English", "German welcome", "English welcome", "English welcome"]
    else "The behaviour has changed."
)
PY
