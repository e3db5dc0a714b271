#!/usr/bin/env bash
# Guess: `count_tokens_approximately` of LangChain, which `trim_messages` takes for the word "approximate", is off by some
#   tenths: it errs for a file about as it does for a picture, and for Chinese about as for English.
# True: a picture counts 85, whatever its size, while a PDF or a recording counts a quarter of its base64: 100,000 tokens
#   for 300 kB, whether it has two pages or two hundred. Chinese counts a quarter of its characters, a third of what it
#   is. `trim_messages` then drops a question with a file itself, without an error: the model gets the system prompt
#   alone. In Chinese it lets through two to three times what it was allowed.
# For a chat like ours: the person who attaches a contract gets an answer to nothing, and a long Chinese thread is refused by
#   its provider as too long. Count text by the model's vocabulary, give files a number of their own, and never drop the
#   last question.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check langchain-core==1.8.3 bpe-openai==0.1.4
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import base64
import sys
from importlib.metadata import version

import bpe_openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.messages.utils import count_tokens_approximately

CONTENT = base64.b64encode(bytes(300_000)).decode()
BLOCKS = {
    "picture": {"type": "image", "base64": CONTENT, "mime_type": "image/png"},
    "PDF": {"type": "file", "base64": CONTENT, "mime_type": "application/pdf"},
    "recording": {"type": "audio", "base64": CONTENT, "mime_type": "audio/wav"},
}
QUESTION = "What does it say of refunds?"
CHINESE = "客户在收到货物之后的十四天之内可以申请退款，邮费由商家承担。"
ENGLISH = "Within fourteen days of receipt customers may ask for a refund; the shop pays the postage. "


def with_file(block):
    return HumanMessage([{"type": "text", "text": QUESTION}, block])


counted = {name: count_tokens_approximately([with_file(block)]) for name, block in BLOCKS.items()}
tokens = bpe_openai.get_encoding("o200k_base").encode_ordinary
shares = {
    name: count_tokens_approximately([HumanMessage(text * 100)]) / len(tokens(text * 100))
    for name, text in (("English", ENGLISH), ("Chinese", CHINESE))
}
thread = [SystemMessage("You answer for the shop."), HumanMessage("Hello"), AIMessage("Hello!"), with_file(BLOCKS["PDF"])]
sent = trim_messages(
    thread, max_tokens=50_000, token_counter="approximate", strategy="last", start_on="human", include_system=True
)
print("langchain-core", version("langchain-core"), "bpe-openai", version("bpe-openai"))
print("guess: a file of 300 kB is some thousand tokens, of whatever kind; both languages are counted at about 1.0")
for name, count in counted.items():
    print(f"seen:  {name} of 300 kB: {count} tokens")
for name, share in shares.items():
    print(f"seen:  {name}: {share:.2f} of the tokens of o200k_base")
print("guess: 50,000 tokens hold a thread of four short messages, the last with the PDF")
print("seen:  sent:", [type(message).__name__ for message in sent])
if (
    counted["picture"] > 200
    or min(counted["PDF"], counted["recording"]) < 100_000
    or not 0.9 < shares["English"] < 1.7
    or shares["Chinese"] > 0.5
    or sent != thread[:1]
):
    sys.exit("The behaviour has changed.")
PY
