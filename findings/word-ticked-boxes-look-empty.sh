#!/usr/bin/env bash
# Guess: a ticked box of a Word form and an empty one differ in the text; Word even stores a character for each, ☒ or ☐.
# True: mammoth replaces that character by `<input type="checkbox">`, with `checked` or without it, and markdownify makes
#   nothing of an input. Both lines are "Pets are allowed". mammoth's raw text has neither. There is no message.
# For a chat like ours: an application in which everything was refused reads like one in which all was granted, because
#   the text has every answer that could be ticked. Convert an input to the character.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mammoth==1.13.0 markdownify==1.2.3 python-docx==1.2.0
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import mammoth
from docx import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from markdownify import markdownify

WORD_2010 = 'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"'
CONTROL = """<w:p {space}><w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val="{ticked}"/></w14:checkbox></w:sdtPr>
<w:sdtContent><w:r><w:t>{shown}</w:t></w:r></w:sdtContent></w:sdt><w:r><w:t xml:space="preserve"> {text}</w:t></w:r></w:p>"""
FIELD = """<w:p {space}><w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="0"/>
<w:checked w:val="{ticked}"/></w:checkBox></w:ffData></w:fldChar></w:r><w:r><w:instrText> FORMCHECKBOX </w:instrText></w:r>
<w:r><w:fldChar w:fldCharType="end"/></w:r><w:r><w:t xml:space="preserve"> {text}</w:t></w:r></w:p>"""
TEXT = "Pets are allowed"

print("mammoth", version("mammoth"), "markdownify", version("markdownify"))
changed = False
for name, form in (("content control", CONTROL), ("form field", FIELD)):
    document = Document()
    for place, (ticked, shown) in enumerate(((1, "☒"), (0, "☐"))):
        paragraph = form.format(space=f"{nsdecls('w')} {WORD_2010}", ticked=ticked, shown=shown, text=TEXT)
        document.element.body.insert(place, parse_xml(paragraph))
    file = io.BytesIO()
    document.save(file)
    html = mammoth.convert_to_html(file)
    lines = [line for line in markdownify(html.value).splitlines() if line]
    raw = [line for line in mammoth.extract_raw_text(file).value.splitlines() if line]
    print(f"{name}: HTML has {html.value.count('<input')} inputs, {html.value.count('checked=')} of them ticked")
    print(f"  guess: {[f'☒ {TEXT}', f'☐ {TEXT}']}\n  seen:  {lines}, raw text {raw}, messages {html.messages}")
    changed = changed or [line.strip() for line in lines + raw] != [TEXT] * 4 or html.value.count("checked=") != 1
if changed:
    sys.exit("The behaviour has changed.")
PY
