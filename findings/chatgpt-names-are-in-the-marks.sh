#!/usr/bin/env bash
# Guess: in ChatGPT's export, what stands between its private characters (U+E200 to U+E201) is a citation. A reader that puts
#   links in the place of citations shows the answer as it was read, and one that removes all marks loses no words.
# True: since 2025 there are other marks of the same form. Names of people, places and works are only within them
#   (entity, U+E202, ["people", "Ada Lovelace", …]), and so are the words of some links (url, U+E202, words, U+E202, address).
#   chat-history replaces the citations with care and leaves these: the answer reads entity["people","Ada Lovelace", …] wrote
#   the first program. Whoever removes every mark instead has lost who wrote it, and nothing says so.
# For a chat like ours: look at the kind of a mark. Of an entity the second value is what was read, of a link the first one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chat-history==0.3.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

from chat_history.parsers import parse_chatgpt_export

BEGIN, NEXT, END = "\ue200", "\ue202", "\ue201"
CITATION = f"{BEGIN}cite{NEXT}turn0search0{END}"
NAME = f'{BEGIN}entity{NEXT}["people","Ada Lovelace","mathematician"]{END}'
LINK = f"{BEGIN}url{NEXT}her notes{NEXT}https://example.org/notes{END}"


def node(name, parent, children, role=None, text="", **metadata):
    message = {
        "id": name,
        "author": {"role": role},
        "create_time": 1767225600,
        "content": {"content_type": "text", "parts": [text]},
        "recipient": "all",
        "metadata": metadata,
    }
    return {"id": name, "message": message if role else None, "parent": parent, "children": children}


REFERENCE = {
    "matched_text": CITATION,
    "type": "grouped_webpages",
    "items": [{"title": "Ada", "url": "https://example.org/ada"}],
}
NODES = [
    node("root", None, ["q"]),
    node("q", "root", ["a"], "user", "Who wrote the first program?"),
    node(
        "a",
        "q",
        [],
        "assistant",
        f"{NAME} wrote the first program{CITATION}; see {LINK}.",
        content_references=[REFERENCE, {"matched_text": NAME, "type": "entity", "name": "Ada Lovelace"}],
    ),
]
CONVERSATION = {
    "id": "c",
    "conversation_id": "c",
    "title": "Programs",
    "create_time": 1767225600,
    "update_time": 1767225600,
    "mapping": {one["id"]: one for one in NODES},
    "current_node": "a",
}
Path("conversations.json").write_text(json.dumps([CONVERSATION]))
(found,) = parse_chatgpt_export(Path("conversations.json"))
seen = "".join(block.text for block in found.messages[-1].content)
removed = re.sub(f"{BEGIN}[^{END}]*{END}", "", seen)
print("chat-history", version("chat-history"))
print("guess: Ada Lovelace wrote the first program (example.org/ada); see her notes.")
print("seen: ", "".join(one if one.isprintable() else "|" for one in seen))
print("without marks:", removed)
if "(https://example.org/ada)" not in seen or NAME not in seen or LINK not in seen or "Lovelace" in removed:
    sys.exit("The behaviour has changed.")
PY
