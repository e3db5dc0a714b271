#!/usr/bin/env bash
# Guess: `**...**` is bold wherever it stands.
# True: CommonMark, and markdown-it-py with it, asks for a space or punctuation behind a closing `**` that follows
#   punctuation. Chinese has no such space: `**退款：**请` shows its asterisks, while the same words with the colon behind
#   the asterisks are bold. Models write the first form in nearly every Chinese list.
# For a chat like ours: Chinese answers are full of asterisks, on pages of our own and in the chat. The asterisks need a
#   rule of their own when a letter of Chinese, Japanese or Korean stands beside them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check markdown-it-py==4.3.0
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from markdown_it import MarkdownIt

TEXTS = ("**Refund:** please", "**退款：**请联系客服", "**退款**：请联系客服", "这是**“重要”**的")
print("markdown-it-py", version("markdown-it-py"))
print("guess: all are bold")
seen = []
for text in TEXTS:
    html = MarkdownIt().render(text).strip()
    seen.append("<strong>" in html)
    print("seen: ", html)
if seen != [True, False, True, False]:
    sys.exit("The behaviour has changed.")
PY
