#!/usr/bin/env bash
# Guess: LiteLLM gives the cost of a model whose price it does not know as unknown, and 0.0 only for what is free.
# True: it raises for a name that its table lacks at most providers ("openai/gpt-99"), but any name after "ollama/" or
#   "volcengine/" whose entry has no price, and every entry with prices per second, per picture or in tiers of their own
#   kind only, costs 0.0 per token: 211 of its 3,559 chat models. Among them are models that run in somebody's cloud
#   ("ollama/gpt-oss:120b-cloud"), and codestral-latest, which genai-prices has at 1.20 dollars. Nothing tells "free"
#   from "not entered".
# For a chat like ours: a spending limit is never reached by such a model, and the report of costs looks complete. Take
#   0.0 from a table as unknown unless somebody has said that the model is free.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check litellm==1.110.2 genai-prices==0.2.3
cd "$folder"
# LiteLLM otherwise asks the network for its prices.
export LITELLM_LOCAL_MODEL_COST_MAP=True
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import litellm
from genai_prices import Usage, calc_price

litellm.suppress_debug_info = True
MILLION = 1_000_000
NAMES = (
    "openai/gpt-99",
    "ollama/no-such-model",
    "ollama/gpt-oss:120b-cloud",
    "volcengine/glm-4-7-251222",
    "gigachat/GigaChat-2-Max",
    "codestral/codestral-latest",
    "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1",
)


def cost(model):
    try:
        return sum(litellm.cost_per_token(model, prompt_tokens=MILLION, completion_tokens=MILLION))
    except Exception as error:
        return type(error).__name__


seen = {name: cost(name) for name in NAMES}
chat = [entry for entry in litellm.model_cost.values() if entry.get("mode") == "chat"]
free = [one for one in chat if not one.get("input_cost_per_token") and not one.get("output_cost_per_token")]
without = sum("input_cost_per_token" not in one for one in free)
other = float(calc_price(Usage(input_tokens=MILLION, output_tokens=MILLION), "codestral-latest").total_price)
print("litellm", version("litellm"), " genai-prices", version("genai-prices"))
print("guess: an error for each, but for what is free")
for name, value in seen.items():
    print(f"seen:  {name}: {value}")
print(f"seen:  codestral-latest in genai-prices: {other}")
print(f"seen:  {len(free)} of {len(chat)} chat models cost nothing per token; {without} of them have no such entry")
if (
    seen.pop("openai/gpt-99") != "ModelNotMappedError"
    or set(seen.values()) != {0.0}
    or (other, len(free), len(chat)) != (1.2, 211, 3559)
):
    sys.exit("The behaviour has changed.")
PY
