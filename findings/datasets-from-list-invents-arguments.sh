#!/usr/bin/env bash
# Guess: conversations with calls of tools are the same examples whether `datasets` gets them as a list or as a file of JSON
#   Lines, and each call keeps its own arguments.
# True: `Dataset.from_list` makes one type of all rows: each call gets the arguments of all other tools, as None. A refund of
#   order A-17 becomes {"order": "A-17", "city": None}. `load_dataset("json")` of the same rows keeps them apart, since it
#   reads nested values as JSON.
# For a chat like ours: exports of good answers are training data. A model that is trained on the first kind learns to write
#   "city": null into every call, which a strict schema refuses. Write the arguments as a text of JSON, as OpenAI's format has
#   them, or load from a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0
cd "$folder"
export HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$folder/venv/bin/python" -W ignore - <<'PY'
import json
import sys
from importlib.metadata import version

import datasets

CALLS = (("refund", {"order": "A-17"}), ("weather", {"city": "Bonn"}))
rows = [
    {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"name": name, "arguments": arguments}]}]}
    for name, arguments in CALLS
]
with open("calls.jsonl", "w") as file:
    file.writelines(f"{json.dumps(row)}\n" for row in rows)


def arguments(dataset):
    return [row["messages"][0]["tool_calls"][0]["arguments"] for row in dataset]


seen = {
    "from_list": arguments(datasets.Dataset.from_list(rows)),
    "load_dataset": arguments(datasets.load_dataset("json", data_files="calls.jsonl", split="train", cache_dir="cache")),
}
given = [own for _, own in CALLS]
print("datasets", version("datasets"))
print("guess:", given)
for way, found in seen.items():
    print(f"seen:  {way}:", found)
if seen["load_dataset"] != given or seen["from_list"] != [{"order": "A-17", "city": None}, {"order": None, "city": "Bonn"}]:
    sys.exit("The behaviour has changed.")
PY
