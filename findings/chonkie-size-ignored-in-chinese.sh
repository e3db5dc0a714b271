#!/usr/bin/env bash
# Guess: `chunk_size` is the most that a chunk has.
# True: chonkie's SentenceChunker cuts at ". ", "! ", "? " and line ends only, and lets a sentence that is larger than
#   the size stand. Chinese has none of these, so a whole text is one sentence and one chunk: here 276 characters where
#   40 were asked for, without a warning. With `delim` set to the full-width marks it keeps to the size.
# For a chat like ours: such chunks are longer than the embedding model reads, so the rest of the document cannot be
#   found, and one hit fills the context of the answer. Check the size of every chunk.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chonkie==1.7.0 chonkie-core==0.10.2 \
  tokie==0.1.4
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from chonkie import SentenceChunker

SIZE = 40
ENGLISH = "Goods can be returned. Keep the receipt! Is it paid soon? Yes, it usually is. " * 4
CHINESE = "我们的退货政策很简单。您可以在购买后三十天内退货！商品必须未拆封。请保留收据，并填写退货表格。退款会在五个工作日内到账吗？是的，通常更快。" * 4


def largest(text, **options):
    return max(len(chunk.text) for chunk in SentenceChunker(chunk_size=SIZE, **options)(text))


seen = {
    "English": largest(ENGLISH),
    "Chinese": largest(CHINESE),
    "Chinese, delim given": largest(CHINESE, delim=["。", "！", "？"]),
}
print("chonkie", version("chonkie"))
print(f"guess: the largest chunk has at most {SIZE} characters")
for name, size in seen.items():
    print(f"seen:  {name}: the largest chunk has {size} characters")
if not (seen["English"] <= SIZE and seen["Chinese"] == len(CHINESE) and seen["Chinese, delim given"] <= SIZE):
    sys.exit("The behaviour has changed.")
PY
