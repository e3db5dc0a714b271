#!/usr/bin/env bash
# Guess: a list of terms and what they mean (`<dl>`) keeps them in pairs.
# True: trafilatura makes a list item of each, all of one kind: "- Fee - 5 EUR - Deposit - none". What belongs together
#   cannot be told from the text, least of all where a term has two meanings or two terms have one. In XML it can
#   (`rend="dt-1"`), in Markdown and plain text it cannot.
# For a chat like ours: glossaries, data sheets and questions with answers are written with `<dl>`. A text that is cut
#   between two items has a term in one passage and its meaning in the next. Make an item "term: meaning" before the
#   extraction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.5
"$folder/venv/bin/python" - <<'PY'
import re
import sys
from importlib.metadata import version

from trafilatura import extract

TERMS = "<dl><dt>Fee</dt><dd>5 EUR</dd><dd>8 EUR on Sundays</dd><dt>Deposit</dt><dt>Tip</dt><dd>none</dd></dl>"
ITEMS = ["Fee", "5 EUR", "8 EUR on Sundays", "Deposit", "Tip", "none"]
WORDS = "Here is what the tenant and the owner of the flat agree on, in full sentences, for the whole of the year. " * 3
PAGE = f"<html><body><main><h1>The contract</h1><p>{WORDS}</p>{TERMS}<p>{WORDS}</p></main></body></html>"

print("trafilatura", version("trafilatura"))
print("guess: a pair is told from the next one: 'Fee: 5 EUR; 8 EUR on Sundays', 'Deposit, Tip: none'")
seen = {form: extract(PAGE, output_format=form) for form in ("markdown", "txt", "xml")}
for form, text in seen.items():
    lines = re.findall(r"^\s*(?:- |<item.*).*$", text, re.MULTILINE)
    print(f"seen:  {form}:", *(line.strip() for line in lines), sep="\n  ")
alike = all("\n".join(f"- {item}" for item in ITEMS) in seen[form] for form in ("markdown", "txt"))
if not alike or 'rend="dt' not in seen["xml"] or 'rend="dd' not in seen["xml"]:
    sys.exit("The behaviour has changed.")
PY
