#!/usr/bin/env bash
# Guess: the text of a filled PDF form has what was filled in, as a viewer shows it and as it is printed.
# True: pypdf and pypdfium2 read the page's own text, and the values of a form are not in it, nor are notes that somebody
#   has written on the page. What is left are the questions: "Name of the tenant:". pypdf gives the values apart
#   (`get_fields`), as the file has them: "/Yes" for a ticked box, and an internal name for each. pypdfium2 needs
#   `init_forms()` before the page is loaded, and then `flatten()`, which draws them into the page.
# For a chat like ours: a contract or an application, filled in on a screen, is read as an empty one. The page has text,
#   so it does not count as scanned, and the model says that no name was given. Read the fields too, or say that they are
#   missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pypdf==7.1.1 pypdfium2==5.15.2 reportlab==4.4.4
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import pypdfium2
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import FreeText
from reportlab.pdfgen import canvas

QUESTIONS, VALUE, NOTE = ["Name of the tenant:", "Pets are allowed:"], "Ada Example", "Rent: 900 a month"

blank = io.BytesIO()
page = canvas.Canvas(blank)
for line, question in enumerate(QUESTIONS):
    page.drawString(72, 720 - 40 * line, question)
page.acroForm.textfield(name="field_1", x=220, y=712, width=200, height=20)
page.acroForm.checkbox(name="field_2", x=220, y=674)
page.save()
writer = PdfWriter(clone_from=blank)
writer.update_page_form_field_values(writer.pages[0], {"field_1": VALUE, "field_2": "/Yes"}, auto_regenerate=False)
writer.add_annotation(0, FreeText(text=NOTE, rect=(72, 600, 300, 620)))
filled = io.BytesIO()
writer.write(filled)

reader = PdfReader(filled)
document = pypdfium2.PdfDocument(filled.getvalue())
flat = pypdfium2.PdfDocument(filled.getvalue())
flat.init_forms()
flat[0].flatten()
seen = {
    "pypdf": reader.pages[0].extract_text().split("\n"),
    "pypdfium2": document[0].get_textpage().get_text_range().split("\r\n"),
}
seen = {name: [line for line in lines if line] for name, lines in seen.items()}
flattened = flat[0].get_textpage().get_text_range()
fields = {name: field.value for name, field in reader.get_fields().items()}
print(*(f"{name} {version(name)}" for name in ("pypdf", "pypdfium2")))
print(f"guess: the text has {VALUE!r} and {NOTE!r}")
for name, lines in seen.items():
    print(f"seen:  {name}: {lines}")
print("seen:  pypdf, get_fields:", fields)
print(f"seen:  pypdfium2, flattened: has {VALUE!r}: {VALUE in flattened}")
if set(map(tuple, seen.values())) != {tuple(QUESTIONS)} or fields != {"field_1": VALUE, "field_2": "/Yes"} \
        or VALUE not in flattened:
    sys.exit("The behaviour has changed.")
PY
