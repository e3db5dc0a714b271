#!/usr/bin/env bash
# Guess: `litellm.token_counter` counts by the vocabulary of the model that it is given, or says that it does not know it.
# True: for every name that it does not connect with a vocabulary it takes that of GPT-3.5, without a word: also for
#   gpt-oss, which has GPT-4o's. A Chinese text has 560 tokens where it has 340; for Gemini and Qwen the same 560 are given.
#   A file counts its name and no page. A recording, and a refusal of the model itself, raise: a thread that had one once
#   cannot be counted any more.
# For a chat like ours: a budget of context by these counts leaves out two fifths of a Chinese conversation with gpt-oss, and one
#   message stops the counting of its thread. Count by the vocabulary that one knows, correct by the usage that the provider
#   reports, and never let a count end a request.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check litellm==1.110.2 bpe-openai==0.1.4
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import bpe_openai
import litellm

litellm.suppress_debug_info = True
TEXT = "人工智能助手可以帮助用户查询订单、处理退款并回答常见问题。" * 20
FILE = {"type": "file", "file": {"filename": "contract.pdf", "file_data": "data:application/pdf;base64," + "AAAA" * 10_000}}
RECORDING = {"type": "input_audio", "input_audio": {"data": "AAAA" * 1000, "format": "wav"}}
REFUSAL = {"type": "refusal", "refusal": "I cannot help with that."}


def of_part(part):
    try:
        return litellm.token_counter(model="gpt-4o", messages=[{"role": "user", "content": [part]}])
    except Exception as error:
        return type(error).__name__


counts = {
    model: litellm.token_counter(model=model, text=TEXT)
    for model in ("gpt-4o", "gpt-oss-120b", "groq/openai/gpt-oss-120b", "gemini/gemini-2.5-pro", "dashscope/qwen-plus")
}
own = {name: len(bpe_openai.get_encoding(name).encode(TEXT)) for name in ("o200k_base", "cl100k_base")}
parts = {"file of 30 kB": of_part(FILE), "recording": of_part(RECORDING), "refusal": of_part(REFUSAL)}
print("litellm", version("litellm"), " bpe-openai", version("bpe-openai"))
print(f"guess: {own['o200k_base']} for gpt-4o and gpt-oss, others for Gemini and Qwen; a number for each part")
print("seen:  vocabularies:", own)
for name, count in (counts | parts).items():
    print(f"seen:  {name}: {count}")
others = [count for model, count in counts.items() if model != "gpt-4o"]
if (
    own != {"o200k_base": 340, "cl100k_base": 560}
    or counts["gpt-4o"] != 340
    or set(others) != {560}
    or not isinstance(parts["file of 30 kB"], int)
    or parts["file of 30 kB"] > 200
    or [parts["recording"], parts["refusal"]] != ["UnsupportedContentTypeError"] * 2
):
    sys.exit("The behaviour has changed.")
PY
