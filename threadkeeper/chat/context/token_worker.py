"""The program that `tokens` runs to count tokens. The memory of its vocabulary is free again when it ends.

Argument: seconds without a request after which it ends. It reads requests from standard input, one a line: a JSON list
of the name of a vocabulary and a list of texts. It answers with a JSON list of the tokens of each text. It also ends
with its input, and so with the process that started it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from threadkeeper.programs import EndsWhenIdle
from threadkeeper.vocabulary import tokenizer

# The library refuses texts of more than 200,000 tokens, and a character has at most 4.
_PIECE_CHARACTERS = 50_000


def count_tokens(vocabulary: str, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text."""
    encode = tokenizer(vocabulary).encode
    return [
        sum(len(encode(text[start : start + _PIECE_CHARACTERS])) for start in range(0, len(text), _PIECE_CHARACTERS))
        for text in map(_valid, texts)
    ]


def _valid(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones replaced, as the library does it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def main() -> None:
    idle = EndsWhenIdle(float(sys.argv[1]))
    for line in sys.stdin.buffer:
        with idle.request():
            vocabulary, texts = json.loads(line)
            sys.stdout.buffer.write(json.dumps(count_tokens(vocabulary, texts)).encode("ascii") + b"\n")
            sys.stdout.buffer.flush()
