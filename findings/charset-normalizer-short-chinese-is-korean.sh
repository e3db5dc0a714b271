#!/usr/bin/env bash
# Guess: a detector of encodings that reads a sentence of any language right reads a few words right, or says that they
#   are too few.
# True: charset-normalizer reads "你好世界" in GB18030 as Korean and a Chinese comment in code as Korean too; a German
#   sentence with three umlauts is Big5. It gives them as its best match, as it does a page of text. Longer texts are
#   right. `requests` and loaders of documents use it.
# For a chat like ours: small files are common, and wrong characters go to the model without a word. The places of the
#   characters tell Chinese from Korean (its syllables all begin with B0 to C8); ask the detector about the rest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check charset-normalizer==3.5.2
"$folder/venv/bin/python" - <<'PY'
import sys

import charset_normalizer

TEXTS = {
    "four characters": ("你好世界", "gb18030"),
    "code": ("# 读取配置文件\nimport os  # 路径\nprint('完成')\n", "gb18030"),
    "German": ("Die heutige Sitzung beginnt um drei Uhr. Bitte lesen Sie die Unterlagen vorher. Grüße, Jörg Müßig", "cp1252"),
    "a Chinese sentence": ("今天的会议下午三点开始。请提前阅读资料。谢谢大家的配合。", "gb18030"),
    "a Korean sentence": ("안녕하세요. 오늘 회의는 오후 세 시에 시작합니다.", "euc_kr"),
}
print("charset-normalizer", charset_normalizer.__version__)
print("guess: each text comes back, or nothing")
seen = {}
for name, (text, encoding) in TEXTS.items():
    best = charset_normalizer.from_bytes(text.encode(encoding)).best()
    seen[name] = (best.encoding if best else None, best is not None and str(best) == text)
    print(f"seen:  {name}, {encoding}: {seen[name][0]}, right: {seen[name][1]}")
if seen != {
    "four characters": ("cp949", False),
    "code": ("cp949", False),
    "German": ("big5hkscs", False),
    "a Chinese sentence": ("gb18030", True),
    "a Korean sentence": ("cp949", True),
}:
    sys.exit("The behaviour has changed.")
PY
