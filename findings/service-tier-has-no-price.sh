#!/usr/bin/env bash
# Guess: a library that prices a provider's answer takes the tier into account that the answer names beside its tokens:
#   "flex" at half the price, "priority" at up to twice.
# True: genai-prices' `extract_usage` reads model and tokens and leaves out `service_tier`: the three have one price. So
#   have "standard" and "batch" of Anthropic. LiteLLM prices "flex" and "priority" of OpenAI as they are, if the response
#   object has the tier, and at the ordinary price, without a word, if it was made of model and usage alone. "batch" it
#   does not know as a tier.
# For a chat like ours: with "auto", the provider chooses the tier, and one that was asked for may be refused; the costs in
#   a report are then off by a factor of two either way. Store the tier that the answer names with each call.
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
from genai_prices import extract_usage
from litellm import ModelResponse, Usage

litellm.suppress_debug_info = True
MODEL = "gpt-5"
USAGE = {"prompt_tokens": 100_000, "completion_tokens": 10_000, "total_tokens": 110_000}


def prices(tier):
    """In dollars: by genai-prices; by LiteLLM, with the tier in the response and without."""
    answer = {"model": MODEL, "service_tier": tier, "usage": USAGE}
    by_genai = extract_usage(answer, provider_id="openai", api_flavor="chat").calc_price().total_price
    responses = (
        ModelResponse(model=MODEL, usage=Usage(**USAGE), service_tier=tier),
        ModelResponse(model=MODEL, usage=Usage(**USAGE)),
    )
    return float(by_genai), *(round(litellm.completion_cost(one, model=MODEL), 6) for one in responses)


def of_anthropic(tier):
    usage = {"input_tokens": 100_000, "output_tokens": 10_000, "service_tier": tier}
    answer = {"model": "claude-sonnet-4-5", "usage": usage}
    return float(extract_usage(answer, provider_id="anthropic").calc_price().total_price)


seen = {tier: prices(tier) for tier in ("default", "flex", "priority", "batch")}
anthropic = {tier: of_anthropic(tier) for tier in ("standard", "batch")}
print("genai-prices", version("genai-prices"), " litellm", version("litellm"))
print("guess: flex and batch are half of default, priority is more, everywhere")
for tier, (first, second, third) in seen.items():
    print(f"seen:  {MODEL}, {tier}: genai-prices {first}; LiteLLM {second}, without the tier {third}")
print("seen:  claude-sonnet-4-5, genai-prices:", anthropic)
if seen != {
    "default": (0.225, 0.225, 0.225),
    "flex": (0.225, 0.1125, 0.225),
    "priority": (0.225, 0.45, 0.225),
    "batch": (0.225, 0.225, 0.225),
} or set(anthropic.values()) != {0.45}:
    sys.exit("The behaviour has changed.")
PY
