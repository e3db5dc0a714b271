#!/usr/bin/env bash
# Guess: a "semantic" chunker cuts a text between sentences, whatever language the sentences are in.
# True: semchunk knows the punctuation of ASCII only. The full-width marks with which Chinese is written are no
#   separators to it, so it cuts in the middle of a word when a text reaches the size. The same text with ASCII marks
#   is cut at its sentences. semantic-text-splitter, with the same size, cuts no Chinese sentence.
# For a chat like ours: passages of Chinese documents begin and end with half a sentence, which makes both their
#   vectors and the quotes under an answer worse. Test a chunker with full-width punctuation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check semchunk==4.1.1 \
  semantic-text-splitter==0.33.1
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import semchunk
from semantic_text_splitter import TextSplitter

SIZE = 40
CHINESE = "我们的退货政策很简单。您可以在购买后三十天内退货！商品必须未拆封。请保留收据，并填写退货表格。退款会在五个工作日内到账吗？是的，通常更快。" * 4
ASCII = CHINESE.translate(str.maketrans("。！？，", ".!?,"))


def cut(chunks):
    """How many chunks there are, and how many end within a sentence."""
    return len(chunks), sum(chunk.strip()[-1] not in "。！？.!?" for chunk in chunks)


seen = {
    "semchunk, full-width marks": cut(semchunk.chunkerify(len, chunk_size=SIZE)(CHINESE)),
    "semchunk, ASCII marks": cut(semchunk.chunkerify(len, chunk_size=SIZE)(ASCII)),
    "semantic-text-splitter, full-width marks": cut(TextSplitter(SIZE).chunks(CHINESE)),
}
print("semchunk", version("semchunk"), " semantic-text-splitter", version("semantic-text-splitter"))
print("guess: no chunk ends within a sentence")
for name, (count, within) in seen.items():
    print(f"seen:  {name}: {within} of {count} chunks end within a sentence")
full_width, ascii_marks, splitter = (within for _, within in seen.values())
if not (full_width >= 4 and ascii_marks == 0 and splitter == 0):
    sys.exit("The behaviour has changed.")
PY
