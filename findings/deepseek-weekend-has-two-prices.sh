#!/usr/bin/env bash
# Guess: two price tables that both know the hours at which DeepSeek is cheaper give the same price for the same minute.
# True: from Monday to Friday LiteLLM and genai-prices agree on deepseek-flash and deepseek-v4-pro. On a Saturday or
#   Sunday, from 1 to 4 and from 6 to 10 UTC, genai-prices takes twice as much: its rules have hours and no weekdays,
#   those of LiteLLM make the whole weekend cheap. For deepseek-chat and deepseek-reasoner genai-prices keeps the hours
#   of an earlier price list, and LiteLLM has one price.
# For a chat like ours: a cost is a statement of one table at one minute, and the minute counts in UTC with its weekday.
#   Keep the tokens and the time beside each cost, name the table, and let somebody who knows the bill set a price.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  genai-prices==0.2.3 litellm==1.110.2 time-machine==3.6.0
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timezone
from importlib.metadata import version

import litellm
import time_machine
from genai_prices import Usage, calc_price

MODELS = ("deepseek-flash", "deepseek-v4-pro", "deepseek-chat", "deepseek-reasoner")
HOURS = [datetime(2026, 11, day, hour, tzinfo=timezone.utc) for day in (27, 28) for hour in (2, 8, 12, 20)]


def by_litellm(model, when):
    """LiteLLM takes the time from the clock."""
    with time_machine.travel(when, tick=False):
        return sum(
            litellm.cost_per_token(model, 1_000_000, 0, custom_llm_provider="deepseek")
        )


def by_genai_prices(model, when):
    price = calc_price(
        Usage(input_tokens=1_000_000), model, provider_id="deepseek", genai_request_timestamp=when
    )
    return float(price.total_price)


print("genai-prices", version("genai-prices"), " litellm", version("litellm"))
print("dollars for a million tokens of input, LiteLLM / genai-prices; guess: both alike")
seen = {}
for model in MODELS:
    for when in HOURS:
        prices = round(by_litellm(model, when), 3), round(by_genai_prices(model, when), 3)
        seen[model, when.strftime("%a %H")] = prices
        print(f"seen:  {model}, {when:%A %H:%M} UTC: {prices[0]} / {prices[1]}", "" if prices[0] == prices[1] else " differ")
differ = {key for key, (first, second) in seen.items() if first != second}
weekend = {(model, hour) for model in MODELS[:2] for hour in ("Sat 02", "Sat 08")}
old = {(model, hour) for model, hour in seen if model in MODELS[2:]}
if differ != weekend | old or any(seen[key][1] != 2 * seen[key][0] for key in weekend):
    sys.exit("The behaviour has changed.")
PY
