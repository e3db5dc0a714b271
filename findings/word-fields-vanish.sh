#!/usr/bin/env bash
# Guess: a reader of Word documents gives the words that Word shows; what it does not know, it passes through.
# True: mammoth drops an element that it does not know together with the text in it. One of them is the short form of a
#   field (`fldSimple`), in which captions, properties and mail merge store their result: a contract's number is gone.
#   The others are words with a reading above them (`ruby`: 東京 becomes 京) and words with a direction of writing
#   (`bdo`, `dir`). Warnings are among the messages, and the text has no gap. Of a drop-down list of an old form the
#   question is left, without a message. python-docx loses more: inserted words, and all content controls.
# For a chat like ours: a sentence without its number reads like a whole one, and the model answers from it. Rename these
#   elements before the conversion to one that is passed through (`smartTag`), and write down what was chosen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mammoth==1.13.0 python-docx==1.2.0
"$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import mammoth
from docx import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

RUN = "<w:r><w:t>{}</w:t></w:r>"
CHOICE = '<w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="red"/><w:listEntry w:val="blue"/></w:ddList></w:ffData>'
BASE = f"<w:r><w:ruby><w:rt>{RUN.format('とう')}</w:rt><w:rubyBase>{RUN.format('東')}</w:rubyBase></w:ruby></w:r>"
# What the paragraph has, what Word shows, and what the two libraries give.
CASES = {
    "simple field": (f'<w:fldSimple w:instr=" DOCPROPERTY Number ">{RUN.format("4711")}</w:fldSimple>', "4711", "", ""),
    "ruby": (BASE + RUN.format("京"), "東京", "京", "京"),
    "direction": (f'<w:bdo w:val="ltr">{RUN.format("4711")}</w:bdo>', "4711", "", ""),
    "old drop-down": (
        f'<w:r><w:fldChar w:fldCharType="begin">{CHOICE}</w:fldChar></w:r>'
        '<w:r><w:instrText> FORMDROPDOWN </w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>',
        "blue", "", "",
    ),
    "insertion": (f'<w:ins w:id="1" w:author="A">{RUN.format("4711")}</w:ins>', "4711", "4711", ""),
    "content control": (f"<w:sdt><w:sdtContent>{RUN.format('4711')}</w:sdtContent></w:sdt>", "4711", "4711", ""),
}
print("mammoth", version("mammoth"), "python-docx", version("python-docx"))
changed = False
for name, (content, shown, *known) in CASES.items():
    document = Document()
    document.element.body.insert(0, parse_xml(f"<w:p {nsdecls('w')}>{RUN.format('No. ')}{content}</w:p>"))
    file = io.BytesIO()
    document.save(file)
    result = mammoth.extract_raw_text(file)
    texts = [result.value.strip(), Document(file).paragraphs[0].text.strip()]
    print(f"{name}  guess: {f'No. {shown}'!r}  seen: mammoth {texts[0]!r}, python-docx {texts[1]!r},",
          "messages:", [message.message for message in result.messages])
    changed = changed or [text.removeprefix("No.").strip() for text in texts] != known
if changed:
    sys.exit("The behaviour has changed.")
PY
