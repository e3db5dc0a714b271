#!/usr/bin/env bash
# Guess: two price tables that agree on a model's prices agree on what its cached tokens cost; where a table has no price for
#   them, they cost as much as others.
# True: of 34 Fireworks models that genai-prices and LiteLLM both know, 11 differ. For a model without a cached price LiteLLM
#   takes half of the input price, as Fireworks has it for models in general, and its map does not show that: the entry has
#   no such price. genai-prices takes the full price. A few have two prices for the same thing anyway (0.30 and 0.03 dollars).
# For a chat like ours: a long conversation is nearly all cached tokens, so its costs differ by a factor of two, with the same
#   tokens and the same price of a token. A missing cached price is unknown, neither zero nor the full one: ask the provider's
#   page, and set a price of your own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check genai-prices==0.2.3 litellm==1.110.2
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import litellm
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

litellm.suppress_debug_info = True
PREFIX = "accounts/fireworks/models/"


def by_genai_prices(model, cached):
    """In dollars for a million tokens of a prompt, cached or not."""
    usage = Usage(input_tokens=1_000, cache_read_tokens=1_000 if cached else 0)
    return round(float(calc_price(usage, PREFIX + model, provider_id="fireworks").total_price) * 1_000, 6)


def by_litellm(model, cached):
    usage = litellm.Usage(
        prompt_tokens=1_000,
        completion_tokens=0,
        total_tokens=1_000,
        prompt_tokens_details={"cached_tokens": 1_000 if cached else 0},
    )
    name = f"fireworks_ai/{PREFIX}{model}"
    return round(litellm.completion_cost(litellm.ModelResponse(model=name, usage=usage), model=name) * 1_000, 6)


fireworks = next(one for one in get_snapshot().providers if one.id == "fireworks")
compared, differ, halved = 0, {}, []
for model in fireworks.models:
    entry = litellm.model_cost.get(f"fireworks_ai/{PREFIX}{model.id}")
    if not entry or entry.get("mode") != "chat":
        continue
    try:
        first = by_genai_prices(model.id, False), by_genai_prices(model.id, True)
    except LookupError:
        continue
    second = by_litellm(model.id, False), by_litellm(model.id, True)
    compared += 1
    if first != second:
        differ[model.id] = first, second
    if second[1] == second[0] / 2 > 0 and "cache_read_input_token_cost" not in entry:
        halved.append(model.id)
print("genai-prices", version("genai-prices"), " litellm", version("litellm"))
print("guess: the same prices; a cached token costs as much as another where no price is given")
for model, (first, second) in differ.items():
    print(f"seen:  {model}: new and cached, dollars a million: genai-prices {first}, LiteLLM {second}")
print(f"seen:  {len(differ)} of {compared} models differ; LiteLLM halves the price of {len(halved)} without an entry for it")
if (compared, len(differ)) != (34, 11) or differ["qwen3-235b-a22b"] != ((0.22, 0.22), (0.22, 0.11)) or len(halved) < 5:
    sys.exit("The behaviour has changed.")
PY
