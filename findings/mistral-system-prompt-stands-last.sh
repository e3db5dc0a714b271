#!/usr/bin/env bash
# Guess: a system prompt is the beginning of what the model reads, so that with prefix caching a server computes it, and
#   the tools below it, once a conversation.
# True: of Mistral's templates that holds for v1 and v7 alone, and for the tools in none. In v2 and v3, the latter that of
#   Nemo and Ministral 8B, Mistral's own library, which vLLM uses with `--tokenizer-mode mistral`, writes the system prompt
#   in front of the last question, wherever it stood in the messages, and in v7 still the tools. With each question they
#   move: the tokens of a request differ from those of the next from the first answer on, and a cache holds next to nothing.
# For a chat like ours: a long prompt, or passages of a knowledge source in it, are computed anew for each question, and the
#   cached tokens that a server reports stay small in long threads. For these models keep the system prompt short, and ask
#   the server for its cached tokens before an estimate of costs assumes them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'mistral-common[sentencepiece]==1.13.1'
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, Tool
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

PROMPT = "You answer for the shop. " * 50
FUNCTION = Function(name="look_up", description="Looks up an order. " * 20, parameters={"type": "object", "properties": {}})
TOKENIZERS = {
    "v1": MistralTokenizer.v1(),
    "v2": MistralTokenizer.v2(),
    "v3": MistralTokenizer.v3(),
    "v3, tekken": MistralTokenizer.v3(is_tekken=True),
    "v7": MistralTokenizer.v7(),
}


def tokens(tokenizer, questions, *, tools):
    messages = [SystemMessage(content=PROMPT)]
    for number in range(questions):
        messages += [UserMessage(content=f"Question {number}?"), AssistantMessage(content=f"Answer {number}.")]
    request = ChatCompletionRequest(messages=messages[:-1], tools=[Tool(function=FUNCTION)] if tools else None)
    return tokenizer.encode_chat_completion(request).tokens


def same_beginning(one, other):
    pairs = enumerate(zip(one, other))
    return next((place for place, (here, there) in pairs if here != there), min(len(one), len(other)))


print("mistral-common", version("mistral-common"))
print("guess: the next request begins with nearly all tokens of the one before it")
seen = {}
for name, tokenizer in TOKENIZERS.items():
    # v1 knows no tools.
    for tools in (False,) if name == "v1" else (False, True):
        second, third = (tokens(tokenizer, number, tools=tools) for number in (2, 3))
        same = same_beginning(second, third)
        seen[name, tools] = same / len(second)
        print(f"seen:  {name}, {'with a tool' if tools else 'no tools'}: {same} of {len(second)} tokens are the same")
stays = {name for (name, tools), share in seen.items() if share > 0.99 and not tools}
moves = {name for (name, tools), share in seen.items() if share < 0.05}
if stays != {"v1", "v7"} or moves != {"v2", "v3", "v3, tekken"} or not 0.5 < seen["v7", True] < 0.8:
    sys.exit("The behaviour has changed.")
PY
