#!/usr/bin/env bash
# Guess: in the text of a Word document, words that stand on two lines, in two columns or on two pages are two words, and
#   a formula leaves at least a gap.
# True: mammoth keeps a line break and a tab, and drops the other elements that Word has for the same: `w:cr`, `w:ptab`
#   (a tab to the margin, as in "Price ... 5"), and a break of a page or a column within a paragraph. "Total" and "5" are
#   "Total5". A formula is left out with its letters and figures. python-docx keeps the first two of these, and drops the
#   breaks, formulas, and symbols too (`w:sym`: ticks, degrees and arrows), of which mammoth makes characters.
# For a chat like ours: a word that is joined to its neighbour is not found, and 3 on a page and 5 on the next are 35.
#   Rename these elements before the conversion, and say how many formulas are missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mammoth==1.13.0 python-docx==1.2.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import docx
import mammoth
from docx.oxml import parse_xml

SPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
BETWEEN = {
    "line break": "<w:br/>",
    "tab": "<w:tab/>",
    "carriage return": "<w:cr/>",
    "tab to the margin": '<w:ptab w:relativeTo="margin" w:alignment="right" w:leader="dot"/>',
    "page break": '<w:br w:type="page"/>',
    "column break": '<w:br w:type="column"/>',
    "symbol": '<w:sym w:font="Wingdings" w:char="F0FC"/>',
    "formula": "</w:r><m:oMath><m:r><m:t>=2</m:t></m:r></m:oMath><w:r>",
}


def texts(between):
    """What mammoth and python-docx read of "Total", something, and "5"."""
    document = docx.Document()
    document.element.body.insert(
        0, parse_xml(f"<w:p {SPACES}><w:r><w:t>Total</w:t>{between}<w:t>5</w:t></w:r></w:p>")
    )
    file = io.BytesIO()
    document.save(file)
    file.seek(0)
    html = mammoth.convert_to_html(file).value
    return html.removeprefix("<p>").removesuffix("</p>"), docx.Document(file).paragraphs[0].text


seen = {name: texts(between) for name, between in BETWEEN.items()}
print("mammoth", version("mammoth"), " python-docx", version("python-docx"))
print('guess: something between "Total" and "5" in each')
for name, (first, second) in seen.items():
    print(f"seen:  {name}: mammoth {first!r}, python-docx {second!r}")
if seen != {
    "line break": ("Total<br />5", "Total\n5"),
    "tab": ("Total\t5", "Total\t5"),
    "carriage return": ("Total5", "Total\n5"),
    "tab to the margin": ("Total5", "Total\t5"),
    "page break": ("Total5", "Total5"),
    "column break": ("Total5", "Total5"),
    "symbol": ("Total✓5", "Total5"),
    "formula": ("Total5", "Total5"),
}:
    sys.exit("The behaviour has changed.")
PY
