#!/usr/bin/env bash
# Guess: a number that is printed in bold in a PDF is that number in the text.
# True: a program without a bold font draws a word twice, a third of a point apart. pypdf reads it twice: "Total 19" becomes
#   "TotalTotal 1919", and if the line is drawn as a whole, "Total 19Total 19". pypdfium2 knows this habit and reads it
#   once. It also takes the text that a PDF gives for a drawing (`ActualText`), as for a ligature or a symbol; pypdf
#   takes the code of the drawing.
# For a chat like ours: what is printed in bold are headings and sums, and a sum of 19 is quoted as 1919. Read the pages
#   of such programs with pypdfium2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pypdf==7.1.1 pypdfium2==5.15.2
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import pypdfium2
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def names(**values):
    return DictionaryObject({NameObject(f"/{key}"): value for key, value in values.items()})


def words(text, x):
    return f"BT /F1 12 Tf {x} 700 Td ({text}) Tj ET\n"


def bold(text, x):
    return words(text, x) + words(text, x + 0.3)


def read(content):
    writer = PdfWriter()
    page = writer.add_blank_page(width=600, height=800)
    stream = DecodedStreamObject()
    stream.set_data(content.encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    font = names(Type=NameObject("/Font"), Subtype=NameObject("/Type1"), BaseFont=NameObject("/Helvetica"))
    page[NameObject("/Resources")] = names(Font=names(F1=font))
    file = io.BytesIO()
    writer.write(file)
    textpage = pypdfium2.PdfDocument(file.getvalue())[0].get_textpage()
    return PdfReader(file).pages[0].extract_text().strip(), textpage.get_text_range().strip()


# What is drawn, what the page shows, and what pypdf reads.
CASES = {
    "word by word": (bold("Total", 72) + bold("19", 140), "Total 19", "TotalTotal 1919"),
    "line by line": (bold("Total 19", 72), "Total 19", "Total 19Total 19"),
    "ActualText": (
        "/Span << /ActualText (at most) >> BDC\n" + words("<=", 72) + "EMC\n" + words("19", 120), "at most 19", "<= 19"
    ),
}
print("pypdf", version("pypdf"), "pypdfium2", version("pypdfium2"))
changed = False
for name, (content, shown, known) in CASES.items():
    first, second = read(content)
    print(f"{name}  guess: {shown!r}  seen: pypdf {first!r}, pypdfium2 {second!r}")
    changed = changed or (first, second) != (known, shown)
if changed:
    sys.exit("The behaviour has changed.")
PY
