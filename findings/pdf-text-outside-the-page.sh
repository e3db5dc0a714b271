#!/usr/bin/env bash
# Guess: the text of a page is what the page shows.
# True: pypdf and pypdfium2 read what is drawn, shown or not: words outside the CropBox, and the words of layers that are
#   switched off. Two pages that are the halves of a scanned or typeset spread hold the whole spread each, so that each
#   has the text of both. `get_text_bounded()` of pypdfium2 keeps to the CropBox, although it is called without bounds;
#   `get_text_range()` does not. No call leaves out a layer.
# For a chat like ours: everything is found twice, and the page that is cited shows something else. Of a document with
#   two languages as layers, the passages mix both. Keep to the CropBox.
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
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, RectangleObject, TextStringObject


def names(**values):
    return DictionaryObject({NameObject(f"/{key}"): value for key, value in values.items()})


def words(text, x, y=700):
    return f"BT /F1 12 Tf {x} {y} Td ({text}) Tj ET\n"


def document(content, crops, layers=()):
    """A PDF with a page of this content for each crop; the layers after the first are off."""
    writer = PdfWriter()
    font = names(Type=NameObject("/Font"), Subtype=NameObject("/Type1"), BaseFont=NameObject("/Helvetica"))
    groups = [
        writer._add_object(names(Type=NameObject("/OCG"), Name=TextStringObject(layer))) for layer in layers
    ]
    for crop in crops:
        page = writer.add_blank_page(width=600, height=800)
        stream = DecodedStreamObject()
        stream.set_data(content.encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        properties = names(**{layer: group for layer, group in zip(layers, groups)})
        page[NameObject("/Resources")] = names(Font=names(F1=font), Properties=properties)
        page.cropbox = RectangleObject(crop)
    if groups:
        shown = names(OFF=ArrayObject(groups[1:]), Order=ArrayObject(groups))
        writer.root_object[NameObject("/OCProperties")] = names(OCGs=ArrayObject(groups), D=shown)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def read(data):
    textpages = [page.get_textpage() for page in pypdfium2.PdfDocument(data)]
    return {
        "pypdf": [page.extract_text().split() for page in PdfReader(io.BytesIO(data)).pages],
        "pypdfium2, range": [page.get_text_range().split() for page in textpages],
        "pypdfium2, bounded": [page.get_text_bounded().split() for page in textpages],
    }


spread = read(document(words("left", 50) + words("right", 350), [(0, 0, 300, 800), (300, 0, 600, 800)]))
layered = "/OC /English BDC\n" + words("rent", 50) + "EMC\n/OC /German BDC\n" + words("Miete", 50, 650) + "EMC\n"
layers = read(document(layered, [(0, 0, 600, 800)], ("English", "German")))
print("pypdf", version("pypdf"), "pypdfium2", version("pypdfium2"))
print("guess: the pages of a spread:", [["left"], ["right"]], " German is off:", [["rent"]])
for name in spread:
    print(f"seen:  {name}: {spread[name]} {layers[name]}")
both = [["left", "right"]] * 2
expected = {"pypdf": both, "pypdfium2, range": both, "pypdfium2, bounded": [["left"], ["right"]]}
if spread != expected or any(pages != [["rent", "Miete"]] for pages in layers.values()):
    sys.exit("The behaviour has changed.")
PY
