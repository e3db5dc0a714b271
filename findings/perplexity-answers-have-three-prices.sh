#!/usr/bin/env bash
# Guess: an answer of a model that searches costs its tokens and its search, and a library that is given the answer takes
#   the size of the search that the answer names (`search_context_size`), or the cost, which Perplexity's answers name too.
# True: three prices for one answer of `sonar` with 1,500 tokens and a small search. genai-prices adds the fee of the largest
#   search, 12 dollars a thousand requests, whatever the size: 0.0135 dollars. LiteLLM takes the cost that the answer names,
#   0.0065, if its usage has it; of an answer without it, as a stored usage of tokens is, it counts no search at all: 0.0015.
#   It does not read the size either. `extract_usage` of genai-prices leaves out both.
# For a chat like ours: most of what a short question costs is the search, so a sum of tokens times prices is wrong by factors,
#   and limits in dollars with it. Where an answer names its cost, as OpenRouter's do too, store that; otherwise store the
#   number and the size of searches beside the tokens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check genai-prices==0.2.3 litellm==1.110.2
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import litellm
from genai_prices import extract_usage

litellm.suppress_debug_info = True
TOKENS = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
FEES = {"low": 0.005, "high": 0.012}


def usage(size):
    cost = {"input_tokens_cost": 0.001, "output_tokens_cost": 0.0005, "request_cost": FEES[size]}
    return {**TOKENS, "search_context_size": size, "cost": {**cost, "total_cost": round(sum(cost.values()), 4)}}


def by_litellm(usage):
    response = litellm.ModelResponse(model="sonar", usage=litellm.Usage(**usage))
    return round(litellm.completion_cost(response, model="perplexity/sonar"), 6)


print("genai-prices", version("genai-prices"), " litellm", version("litellm"))
seen = {}
for size in FEES:
    answer = {"model": "sonar", "usage": usage(size)}
    without = {name: value for name, value in usage(size).items() if name != "cost"}
    seen[size] = (
        usage(size)["cost"]["total_cost"],
        float(extract_usage(answer, provider_id="perplexity").calc_price().total_price),
        by_litellm(usage(size)),
        by_litellm(without),
    )
    named, genai, litellm_with, litellm_without = seen[size]
    print(f"guess: {size}: {named}, as the answer says")
    print(f"seen:  {size}: genai-prices {genai}; LiteLLM {litellm_with}, from an answer without its cost {litellm_without}")
if seen != {"low": (0.0065, 0.0135, 0.0065, 0.0015), "high": (0.0135, 0.0135, 0.0135, 0.0015)}:
    sys.exit("The behaviour has changed.")
PY
