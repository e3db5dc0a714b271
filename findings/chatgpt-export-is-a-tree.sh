#!/usr/bin/env bash
# Guess: a converter of ChatGPT's export into a database keeps all messages, and their times.
# True: an export is a tree: each edited question and each answer that was asked for again is a branch. chatgpt-to-sqlite
#   keeps the branch that was open last and drops the others: of five messages, two. Their text is in no table, and nothing
#   says how many are missing. Times are seconds since 1970 in the export; they become local times without a zone, so that
#   the same file gives another database on another machine. Text beside a picture is kept, the picture is not.
# For a chat like ours: whoever moves by way of such a database loses what was asked before an edit. Read the export itself,
#   follow `current_node` for what is shown, keep the branches as versions, and write times in UTC.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chatgpt-to-sqlite==1.0.0
cd "$folder"
"$folder/venv/bin/python" - "$folder/venv/bin/chatgpt-to-sqlite" <<'PY'
import json
import os
import sqlite3
import subprocess
import sys
from importlib.metadata import version

SECONDS = 1767225600


def node(name, parent, children, role=None, text="", content_type="text", parts=None):
    content = {"content_type": content_type, "parts": parts or [text]}
    message = {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": SECONDS,
        "content": content,
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
    }
    return {"id": name, "message": message if role else None, "parent": parent, "children": children}


PICTURE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 9, "height": 9}
NODES = [
    node("root", None, ["question", "edited"]),
    node("question", "root", ["answer"], "user", "How long does a refund take?"),
    node("answer", "question", [], "assistant", "Three days."),
    node("edited", "root", ["first", "second"], "user", content_type="multimodal_text", parts=[PICTURE, "And this one?"]),
    node("first", "edited", [], "assistant", "Four days."),
    node("second", "edited", [], "assistant", "Five days."),
]
CONVERSATION = {
    "id": "c",
    "conversation_id": "c",
    "title": "Refund",
    "create_time": SECONDS,
    "update_time": SECONDS,
    "mapping": {one["id"]: one for one in NODES},
    "current_node": "second",
}
with open("conversations.json", "w") as file:
    json.dump([CONVERSATION], file)


def converted(zone):
    name = zone.replace("/", "-") + ".db"
    environment = {**os.environ, "TZ": zone}
    subprocess.run([sys.argv[1], "conversations.json", name], check=True, capture_output=True, env=environment)
    with sqlite3.connect(name) as database:
        return database.execute("SELECT text, create_time FROM messages ORDER BY rowid").fetchall()


asked = [one["message"]["content"]["parts"][-1] for one in NODES if one["message"]]
rows = {zone: converted(zone) for zone in ("UTC", "Asia/Shanghai")}
seen = [text for text, _ in rows["UTC"]]
times = {zone: found[0][1] for zone, found in rows.items()}
print("chatgpt-to-sqlite", version("chatgpt-to-sqlite"))
print("guess:", asked, "and one time")
print("seen: ", seen)
print("seen: ", times)
if seen != ["And this one?", "Five days."] or times != {
    "UTC": "2026-01-01T00:00:00",
    "Asia/Shanghai": "2026-01-01T08:00:00",
}:
    sys.exit("The behaviour has changed.")
PY
