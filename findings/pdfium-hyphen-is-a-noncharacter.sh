#!/usr/bin/env bash
# Guess: a word that is divided at the end of a line comes out as "insur-", a line end, "ance", or whole.
# True: pypdfium2 gives "insur\ufffeance": the hyphen is U+FFFE, which is no character, and the line end is missing.
#   `get_text_bounded` of the same page gives U+0002 in its place. "well-" at a line end looks the same, so nothing tells
#   "insurance" from "well-known". pypdf gives "insur-\nance".
# For a chat like ours: the word is found by nobody, neither as "insurance" nor as "insur-ance"; JSON and XML that are
#   made of the text may be refused. Write "-" and a line end in place of both, as pypdf does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pypdfium2==5.15.2 pypdf==7.1.1 reportlab==4.4.4
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

from pypdf import PdfReader
from pypdfium2 import PdfDocument
from reportlab.pdfgen.canvas import Canvas

file = io.BytesIO()
canvas = Canvas(file)
text = canvas.beginText(72, 700)
for line in ("The deductible of the insur-", "ance is 300 euros; all well-", "known risks are excluded."):
    text.textLine(line)
canvas.drawText(text)
canvas.save()

page = PdfDocument(file.getvalue())[0].get_textpage()
seen = {
    "pypdf": PdfReader(file).pages[0].extract_text(),
    "pypdfium2 get_text_range": page.get_text_range(),
    "pypdfium2 get_text_bounded": page.get_text_bounded(),
}
print("pypdfium2", version("pypdfium2"), "pypdf", version("pypdf"))
print(r"guess: 'insur-\nance' or 'insurance'")
for name, found in seen.items():
    print(f"seen:  {name}: {found.strip()!r}")
range_, bounded = seen["pypdfium2 get_text_range"], seen["pypdfium2 get_text_bounded"]
if not ("insur-\nance" in seen["pypdf"] and "insur\ufffeance" in range_ and "well\ufffeknown" in range_):
    sys.exit("The behaviour has changed.")
if "insur\x02ance" not in bounded:
    sys.exit("The behaviour has changed.")
PY
