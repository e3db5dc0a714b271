"""The program that `tokens` runs to count tokens. The memory of its vocabulary is free again when it ends.

Argument: seconds without a request after which it ends. It reads requests from standard input, one a line: a JSON list
of the name of a vocabulary and a list of texts. It answers with a JSON list of the tokens of each text. It also ends
with its input, and so with the process that started it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

# The library refuses texts of more than 200,000 tokens, and a character has at most 4.
_PIECE_CHARACTERS = 50_000


def count_tokens(vocabulary: str, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text."""
    encode = _encoder(vocabulary)
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


@lru_cache(maxsize=2)
def _encoder(vocabulary: str) -> Callable[[str], Sequence[int]]:
    """Load a vocabulary, which takes 0.15 s."""
    return _compiled_encoder(vocabulary) or _package_encoder(vocabulary)


def _compiled_encoder(vocabulary: str) -> Callable[[str], Sequence[int]] | None:
    """The encoder of bpe-openai's compiled module, which contains the vocabularies; None if that file is not found.

    Importing the package would also build three vocabularies in Python that are not used here, which takes four times
    as long and twice the memory.
    """
    package = importlib.util.find_spec("bpe_openai")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for suffix in (*EXTENSION_SUFFIXES, ".abi3.so"):
            path = Path(folder, f"_bindings{suffix}")
            spec = importlib.util.spec_from_file_location("bpe_openai._bindings", path) if path.is_file() else None
            if spec is not None and spec.loader is not None:
                bindings = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(bindings)
                encode: Callable[[str], Sequence[int]] = bindings.tokenizer_for_encoding(vocabulary).encode
                return encode
    return None


def _package_encoder(vocabulary: str) -> Callable[[str], Sequence[int]]:
    import bpe_openai  # type: ignore[import-untyped]  # noqa: PLC0415

    encode: Callable[[str], Sequence[int]] = bpe_openai.get_encoding(vocabulary).encode_ordinary
    return encode


def main() -> None:
    seconds = float(sys.argv[1])
    # A server that stops still has answers to count, so signals do not end this process; the end of its input does.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    busy = threading.Lock()
    last = time.monotonic()

    def end_when_idle() -> None:
        while True:
            time.sleep(max(0.01, last + seconds - time.monotonic()))
            with busy:
                if time.monotonic() >= last + seconds:
                    os._exit(0)

    threading.Thread(target=end_when_idle, daemon=True).start()
    for line in sys.stdin.buffer:
        with busy:
            vocabulary, texts = json.loads(line)
            sys.stdout.buffer.write(json.dumps(count_tokens(vocabulary, texts)).encode("ascii") + b"\n")
            sys.stdout.buffer.flush()
            last = time.monotonic()


if __name__ == "__main__":
    main()
