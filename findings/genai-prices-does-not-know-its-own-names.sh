#!/usr/bin/env bash
# Guess: a model that stands in the list of a price table has a price when it is asked for by the identifier that it has
#   there, with its provider.
# True: genai-prices finds a model by patterns, and 85 of its 2,330 models do not match their own: all 48 of Fireworks, for
#   which it wants "accounts/fireworks/models/" before the name, 31 of Bedrock, which it lists as "regional.amazon.…" and
#   expects as "us.amazon.…", two fine-tuned ones of OpenAI, and `codestral` and others of Mistral. LookupError, as for a
#   model that nobody knows.
# For a chat like ours: a menu, a settings page or a check of limits that is filled from `get_snapshot()` offers models
#   whose every call has an unknown price. Ask for the price by the name that is sent to the provider, and test a list by
#   asking for each of its names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check genai-prices==0.2.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from collections import Counter
from importlib.metadata import version

from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot


def known(model, provider):
    try:
        calc_price(Usage(input_tokens=1), model, provider_id=provider)
    except LookupError:
        return False
    return True


models = [(model.id, provider.id) for provider in get_snapshot().providers for model in provider.models]
unknown = [one for one in models if not known(*one)]
numbers = Counter(provider for _, provider in unknown)
print("genai-prices", version("genai-prices"))
print(f"guess: each of the {len(models)} models is found by its own identifier and provider")
print(f"seen:  {len(unknown)} are not:", dict(numbers), "such as", [one for one in unknown if "gpt-oss" in one[0]])
prefixed = known("accounts/fireworks/models/gpt-oss-120b", "fireworks")
print("seen:  accounts/fireworks/models/gpt-oss-120b is found:", prefixed)
if (len(models), len(unknown), numbers["fireworks"], numbers["aws"], prefixed) != (2330, 85, 48, 31, True):
    sys.exit("The behaviour has changed.")
PY
