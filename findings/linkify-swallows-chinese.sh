#!/usr/bin/env bash
# Guess: the link that markdown-it-py with linkify-it-py makes of an address ends at the full stop after it, in Chinese as in English.
# True: it knows ASCII punctuation only. The Chinese full stop and all that follows up to the next space become part of
#   the address, and a closing full-width bracket too. A "www." right after Chinese text gets the text as part of the
#   host's name. Each of these links leads nowhere.
# For a chat like ours: Chinese has no space around an address, so most bare links in Chinese answers are broken. End an
#   address at full-width punctuation before linkify sees the text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check linkify-it-py==2.2.0 \
  markdown-it-py==4.3.0
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from urllib.parse import unquote

from markdown_it import MarkdownIt

TEXTS = {
    "See https://example.org/a. Thanks": "https://example.org/a",
    "请看https://example.org/a。谢谢": "https://example.org/a",
    "手册（https://example.org/a）在此": "https://example.org/a",
    "请看www.example.org": "http://www.example.org",
}
print("linkify-it-py", version("linkify-it-py"), " markdown-it-py", version("markdown-it-py"))
markdown = MarkdownIt("gfm-like")
seen = {}
for text, guess in TEXTS.items():
    links = [part for part in markdown.parseInline(text)[0].children if part.type == "link_open"]
    seen[text] = unquote(links[0].attrs["href"])
    print(f"{text}: guess {guess}, seen {seen[text]}")
if list(seen.values()) != [
    "https://example.org/a",
    "https://example.org/a。谢谢",
    "https://example.org/a）在此",
    "http://xn--www-id3ht60g.example.org",
]:
    sys.exit("The behaviour has changed.")
PY
