#!/usr/bin/env bash
# Guess: the numbers of an ordered list are those of the page: `start`, `value`, `reversed` and `type` change them.
# True: trafilatura counts every ordered list from 1, in digits. Clauses 5 and 6 of a contract become 1 and 2, and a list
#   that is interrupted by a paragraph and goes on with `start` has the same numbers twice.
# For a chat like ours: the question "what does clause 5 say" finds another clause, and an answer cites a number that is
#   not on the page. Write the numbers into the items before the extraction.
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

ITEMS = "<li>The tenant pays at the beginning of a month</li><li{}>The owner repairs what is broken</li>"
LISTS = {
    '<ol start="5">': (ITEMS.format(""), ["5", "6"]),
    '<ol><li value="10">': (ITEMS.removeprefix("<li>").format(""), ["10", "11"]),
    "<ol reversed>": (ITEMS.format(""), ["2", "1"]),
    '<ol type="a">': (ITEMS.format(""), ["a", "b"]),
}
PAGE = """<html><body><main><h1>The contract</h1>
<p>Here is what the tenant and the owner of the flat agree on, in full sentences, for the whole of the year.</p>
{}
<p>Whatever is not said here is as the law has it, and questions are answered on working days by telephone.</p>
</main></body></html>"""

print("trafilatura", version("trafilatura"))
seen = []
for opening, (items, shown) in LISTS.items():
    text = extract(PAGE.format(f"{opening}{items}</ol>"), output_format="markdown")
    numbers = re.findall(r"^(\w+)\. The", text, re.MULTILINE)
    print(f"{opening}  guess: {shown}  seen: {numbers}")
    seen.append(numbers)
if seen != [["1", "2"]] * len(LISTS):
    sys.exit("The behaviour has changed.")
PY
