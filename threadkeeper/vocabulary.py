"""OpenAI's vocabularies, which count the tokens of a text (bpe-openai)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Protocol


class Tokenizer(Protocol):
    def encode(self, text: str, /) -> Sequence[int]: ...
    def count(self, text: str, /) -> int: ...


@lru_cache(maxsize=2)
def tokenizer(vocabulary: str) -> Tokenizer:
    """Load a vocabulary, which takes 0.15 s and 70 MB that are never freed: call it in a process that ends."""
    return _compiled(vocabulary) or _Package(vocabulary)


def _compiled(vocabulary: str) -> Tokenizer | None:
    """The tokenizer of bpe-openai's compiled module, which contains the vocabularies; None if that file is not found.

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
                found: Tokenizer = bindings.tokenizer_for_encoding(vocabulary)
                return found
    return None


class _Package:
    def __init__(self, vocabulary: str) -> None:
        import bpe_openai  # type: ignore[import-untyped]  # noqa: PLC0415

        self._encode = bpe_openai.get_encoding(vocabulary).encode_ordinary

    def encode(self, text: str) -> Sequence[int]:
        found: Sequence[int] = self._encode(text)
        return found

    def count(self, text: str) -> int:
        return len(self.encode(text))
