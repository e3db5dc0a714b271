#!/usr/bin/env bash
# Guess: a contract in Word comes out with its clause numbers, or without any; mammoth says in `messages` what it left
#   out.
# True: Word counts the clauses when it shows the page; the file has only "the next one at level 2". mammoth turns them
#   into lists of HTML that each begin at 1. The second clause of section 2 becomes "1.", since a paragraph stands
#   between it and the first, and 1.1 and 2.1 are both "1.". Numbered headings lose their numbers. `messages` is empty.
#   docx2python counts as Word does, but gives the number of the level alone: "2)" for 2.2.
# For a chat like ours: a wrong number is worse than none. "A return under 2.2" leads the model to whatever clause is
#   called 2 in the text, and its answer quotes clause numbers that do not exist. Count the numbers from
#   `word/numbering.xml`, or tell the model that they are missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mammoth==1.13.0 markdownify==1.2.3 python-docx==1.2.0 docx2python==3.7.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import mammoth
from docx import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx2python import docx2python
from markdownify import markdownify

LEVELS = "".join(
    f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="{text}"/></w:lvl>'
    for level, text in enumerate(("%1.", "%1.%2"))
)
# What Word shows, and the level that the file has in place of the number; None for a paragraph without one.
CLAUSES = [
    ("1.", 0, "Delivery"),
    ("1.1", 1, "Goods are sent in five days."),
    ("1.2", 1, "Parts may be sent alone."),
    ("2.", 0, "Returns"),
    ("2.1", 1, "Returns are free for 30 days."),
    ("", None, "This does not hold for food."),
    ("2.2", 1, "Opened goods are taken back at half their price."),
]
document = Document()
numbering = document.part.numbering_part.element
numbering.insert(0, parse_xml(f'<w:abstractNum {nsdecls("w")} w:abstractNumId="90">{LEVELS}</w:abstractNum>'))
numbering.append(parse_xml(f'<w:num {nsdecls("w")} w:numId="90"><w:abstractNumId w:val="90"/></w:num>'))
for _, level, text in CLAUSES:
    paragraph = document.add_paragraph(text, style="Heading 1" if level == 0 else None)
    if level is not None:
        paragraph._p.get_or_add_pPr().append(
            parse_xml(f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{level}"/><w:numId w:val="90"/></w:numPr>')
        )
file = io.BytesIO()
document.save(file)
html = mammoth.convert_to_html(file)
text = markdownify(html.value, heading_style="ATX", bullets="-")
lines = [line for line in text.splitlines() if line.strip()]


def number(clause):
    """What stands before a clause."""
    line = next(line for line in lines if clause in line)
    return line[: line.index(clause)].replace("-", "").replace("#", "").strip()


print(*(f"{name} {version(name)}" for name in ("mammoth", "markdownify", "docx2python")))
seen = {}
for shown, _, clause in CLAUSES:
    seen[shown] = number(clause)
    print(f"Word shows {shown!r}, seen {seen[shown]!r}: {clause}")
print("seen:  messages:", html.messages)
print("seen:  docx2python:", [line for line in docx2python(file).text.splitlines() if line])
if seen != {"1.": "", "1.1": "1.", "1.2": "2.", "2.": "", "2.1": "1.", "": "", "2.2": "1."} or html.messages:
    sys.exit("The behaviour has changed.")
PY
