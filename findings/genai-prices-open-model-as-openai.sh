#!/usr/bin/env bash
# Guess: a price that is asked for by a model's name alone is the price of the only one who sells it, or an error.
# True: genai-prices answers for the first provider whose pattern matches. `gpt-oss-120b`, open weights that many
#   providers sell, is priced as OpenAI's, at about a ninth of what Cerebras takes; `grok-3` and `deepseek-r1` likewise
#   get one provider of several. Nothing in the answer says that there were others.
# For a chat like ours: costs and spending limits are wrong by a factor when only the model's name is kept. Keep the
#   provider, or the address that was called, with every call, and call a price unknown without it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check genai-prices==0.2.3
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

MODEL = "gpt-oss-120b"
usage = Usage(input_tokens=1_000_000, output_tokens=0)
prices = {}
for provider in get_snapshot().providers:
    try:
        prices[provider.id] = calc_price(usage, MODEL, provider_id=provider.id).total_price
    except LookupError:
        continue
alone = calc_price(usage, MODEL)
print("genai-prices", version("genai-prices"))
print(f"dollars for a million tokens of input of {MODEL}, by provider:")
for provider, price in sorted(prices.items(), key=lambda item: item[1]):
    print(f"  {provider}: {price}")
print("guess: an error that asks for the provider")
print(f"seen:  {alone.total_price} from {alone.provider.id}")
if alone.provider.id != "openai" or max(prices.values()) < 5 * alone.total_price:
    sys.exit("The behaviour has changed.")
PY
