#!/usr/bin/env bash
# Guess: a conversation that OpenAI's format allows can be put into Mistral's template: an answer that was stopped before its
#   first word is an empty text, and a note of the system may come between two questions.
# True: Mistral's own library, which vLLM uses with `--tokenizer-mode mistral`, raises for both, in v3 and in v7: an assistant
#   message needs a text or a call, and a system message may not follow an answer. It does take two questions in a row, which
#   it joins by an empty line, and in v3 it puts an empty question in front of a conversation that begins with an answer.
# For a chat like ours: a person presses Stop early, and from then on each question of that thread is refused. Leave out answers
#   without a word, and write a note of the system into the question.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'mistral-common[sentencepiece]==1.13.1' sentencepiece==0.2.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

first, last = UserMessage(content="a"), UserMessage(content="c")
CONVERSATIONS = {
    "answered": [first, AssistantMessage(content="b"), last],
    "an empty answer": [first, AssistantMessage(content=""), last],
    "a note between": [first, AssistantMessage(content="b"), SystemMessage(content="note"), last],
    "two questions": [first, last],
    "an answer first": [AssistantMessage(content="b"), last],
}


def template(tokenizer, messages):
    try:
        return tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).text
    except MistralCommonException as error:
        return type(error).__name__


seen = {}
for name, tokenizer in {"v3": MistralTokenizer.v3(), "v7": MistralTokenizer.v7()}.items():
    for conversation, messages in CONVERSATIONS.items():
        seen[f"{name}, {conversation}"] = template(tokenizer, messages)
print("mistral-common", version("mistral-common"))
print("guess: each has a template")
for name, text in seen.items():
    print(f"seen:  {name}: {text}")
refused = [name for name, text in seen.items() if not text.startswith("<s>")]
if refused != ["v3, an empty answer", "v3, a note between", "v7, an empty answer", "v7, a note between"]:
    sys.exit("The behaviour has changed.")
PY
