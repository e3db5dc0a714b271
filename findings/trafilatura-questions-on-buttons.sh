#!/usr/bin/env bash
# Guess: a page of questions, each a heading with a button that opens its answer (the usual accordion), gives questions
#   and answers; a picture or a group of fields keeps its caption.
# True: trafilatura leaves out each button, label, legend and figcaption with its text, also with `favor_recall`. The
#   answers stay, one after another, without what they answer. On a short page one button is enough to lose the structure
#   of all others: headings, paragraphs and the table become one line.
# For a chat like ours: "Within thirty days." is stored without "How long can I return it?", and answers anything or
#   nothing. Rename what has a meaning before the extraction, and take the other buttons out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.5
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from trafilatura import extract

BEFORE = "<p>Here are the answers to what people ask most about our delivery in Europe and beyond, in full sentences.</p>"
AFTER = "<p>Further questions are answered on the phone, every day from nine to five, except on Sundays.</p>"
TABLE = "<table><tr><th>Day</th><th>Hours</th></tr><tr><td>Monday</td><td>9-18</td></tr></table>"


def markdown(inner, before=BEFORE, after=AFTER):
    page = f"<html><body><main><h1>Questions about delivery</h1>{before}{inner}{after}</main></body></html>"
    return extract(page, output_format="markdown", include_tables=True, favor_recall=True)


QUESTION, ANSWER = "How long can I return it?", "<div><p>Within thirty days, with the label of the parcel, at any shop.</p></div>"
CASES = {
    "heading": f"<h3>{QUESTION}</h3>{ANSWER}",
    "details": f"<details><summary>{QUESTION}</summary>{ANSWER}</details>",
    "button in a heading": f'<h3><button aria-expanded="true">{QUESTION}</button></h3>{ANSWER}',
    "button": f'<button aria-expanded="true">{QUESTION}</button>{ANSWER}',
    "legend": f"<fieldset><legend>{QUESTION}</legend>{ANSWER}</fieldset>",
    "figcaption": f'<figure><img src="a.png"><figcaption>{QUESTION}</figcaption></figure>{ANSWER}',
}
print("trafilatura", version("trafilatura"))
print("guess: the question is in the text in every case, as its answer is")
seen = {}
for name, inner in CASES.items():
    text = markdown(inner)
    seen[name] = (QUESTION in text, "thirty days" in text)
    print(f"seen:  {name}: question {seen[name][0]}, answer {seen[name][1]}")
short = markdown(TABLE, before="<p>The library is open on working days.</p>", after="")
button = markdown(f"<button>Print</button>{TABLE}", before="<p>The library is open on working days.</p>", after="")
print("seen:  a short page:", repr(short))
print("seen:  the same with a button:", repr(button))
lost = {"button in a heading", "button", "legend", "figcaption"}
if seen != {name: (name not in lost, True) for name in CASES}:
    sys.exit("The behaviour has changed.")
if "| Monday |" not in short or "#" in button or "|" in button:
    sys.exit("The behaviour has changed.")
PY
