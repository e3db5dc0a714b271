#!/usr/bin/env bash
# Guess: the text that a PDF says stands for its drawn characters (ActualText: for ligatures, initials, hyphens, numbers
#   in old figures) is what a reader of texts gives, and two readers give the same.
# True: pypdfium2 gives the ActualText, pypdf the drawn codes. Of a document whose letters are drawn from a font of
#   ornaments, one has the amount and the other a letter that means nothing. Neither gives the notes and comments that lie
#   on a page, nor the number that the page shows: `page 1` of both is printed as 17 where the document says so.
# For a chat like ours: which words are found depends on the library, and a citation "page 1" sends the reader to the
#   wrong page of a printed report. Read with one library; give both numbers (`get_page_label` in pypdfium2).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pypdf==7.1.1 pypdfium2==5.15.2
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import pypdf
import pypdfium2

DRAWN = b"BT /F1 12 Tf 10 300 Td (Fee ) Tj /Span<</ActualText(6)>>BDC (b) Tj EMC ( euro) Tj ET"
NOTE = b"<</Type/Annot/Subtype/FreeText/Rect[10 100 200 120]/Contents(from May on 8 euro)/DA(/F1 12 Tf)>>"
OBJECTS = [
    b"<</Type/Catalog/Pages 2 0 R/PageLabels<</Nums[0<</S/D/St 17>>]>>>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>/Annots[" + NOTE + b"]>>",
    b"<</Length %d>>stream\n%s\nendstream" % (len(DRAWN), DRAWN),
    b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
]


def document():
    data, places = b"%PDF-1.7\n", []
    for number, content in enumerate(OBJECTS, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(OBJECTS) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    return data + b"startxref\n%d\n%%%%EOF\n" % data.index(b"xref\n0 ")


data = document()
by_pypdf = pypdf.PdfReader(io.BytesIO(data))
by_pdfium = pypdfium2.PdfDocument(data)
seen = {
    "pypdf": by_pypdf.pages[0].extract_text(),
    "pypdfium2": by_pdfium[0].get_textpage().get_text_bounded(),
    "label, pypdf": by_pypdf.page_labels[0],
    "label, pypdfium2": by_pdfium.get_page_label(0),
}
print("pypdf", version("pypdf"), " pypdfium2", version("pypdfium2"))
print("guess: 'Fee 6 euro' and the note, from both")
for name, text in seen.items():
    print(f"seen:  {name}: {text!r}")
if seen != {"pypdf": "Fee b euro", "pypdfium2": "Fee 6 euro", "label, pypdf": "17", "label, pypdfium2": "17"}:
    sys.exit("The behaviour has changed.")
PY
