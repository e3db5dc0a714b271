#!/usr/bin/env bash
# Guess: the tokens of a day, summed by model and multiplied by the price, cost what the calls of the day cost.
# True: genai-prices and LiteLLM know models whose price rises when one request is long, and they take what they are
#   given as one request. A hundred calls of gemini-2.5-pro with 10,000 tokens each cost 2.25 dollars; their sum, priced
#   at once, 4.00. The higher price is for the whole request, not for the part above the border, so that one token more
#   doubles the price of 200,000. 143 of the 2,330 models in genai-prices have such borders.
# For a chat like ours: a report that sums first and prices later, which is the natural query, shows up to six times
#   the money that was spent, for some models only, and the more the longer its period is. Price each call when it is
#   made, and sum the costs.
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

CALLS, BORDER = 100, 200_000


def by_genai_prices(prompt, answer, model="gemini-2.5-pro", provider="google"):
    return calc_price(Usage(input_tokens=prompt, output_tokens=answer), model, provider_id=provider).total_price


def by_litellm(prompt, answer):
    return sum(litellm.cost_per_token("gemini/gemini-2.5-pro", prompt_tokens=prompt, completion_tokens=answer))


print("genai-prices", version("genai-prices"), " litellm", version("litellm"))
print("guess: both sums are alike; one token more costs next to nothing more")
seen = {}
for name, price in {"genai-prices": by_genai_prices, "litellm": by_litellm}.items():
    of_calls, of_sum = CALLS * price(10_000, 1_000), price(CALLS * 10_000, CALLS * 1_000)
    below, above = price(BORDER, 0), price(BORDER + 1, 0)
    seen[name] = [round(float(value), 2) for value in (of_calls, of_sum, below, above)]
    print(f"seen:  {name}: calls {seen[name][0]}, their sum {seen[name][1]};",
          f"{BORDER} tokens {seen[name][2]}, one more {seen[name][3]}")
models = [(model.id, provider.id) for provider in get_snapshot().providers for model in provider.models]
factors = []
for names in models:
    try:
        of_calls, of_sum = CALLS * by_genai_prices(10_000, 1_000, *names), by_genai_prices(1_000_000, 100_000, *names)
    except (LookupError, ValueError):
        continue
    if of_calls != of_sum:
        factors.append(of_sum / of_calls)
print(f"seen:  {len(factors)} of {len(models)} models, the sum up to {max(factors):.1f} times the calls")
if set(map(tuple, seen.values())) != {(2.25, 4.0, 0.25, 0.5)} or len(factors) < 100 or not 6 < max(factors) < 7:
    sys.exit("The behaviour has changed.")
PY
