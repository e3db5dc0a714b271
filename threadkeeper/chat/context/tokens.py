"""Counts tokens as the model will, without asking it, and knows how many it takes.

The tokenizer is OpenAI's own vocabulary (bpe-openai, 27 MB of text a second). For models of other makers it is an
estimate, so a tenth is added. Counts are remembered by content: a long thread is not counted anew with every turn.
Windows come from the table that ships with genai-prices; nothing is fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from threadkeeper.chat.context.messages import ChatMessage

DEFAULT_WINDOW = 8_192
# What a picture of any size costs at most by OpenAI's rule for GPT-4o: 85 tokens and 170 for each of up to 8 tiles.
# https://platform.openai.com/docs/guides/images-vision#calculating-costs
PICTURE_TOKENS = 85 + 8 * 170
# The frame of a message, and of the whole request:
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
MESSAGE_TOKENS = 4
REQUEST_TOKENS = 3

_MARGIN = 1.1
_REMEMBERED = 20_000
# The library refuses texts of more than 200,000 tokens, and no character has more than 4.
_PIECE_CHARACTERS = 50_000
# The library's own table of models ends with GPT-4.1; OpenAI has kept to the newer vocabulary since GPT-4o.
_OLDER_OPENAI = re.compile(r"gpt-(3|4(?![o.]))")
_OPENAI = re.compile(r"(gpt|chatgpt)-|o\d")


class Encoding(Protocol):
    name: str

    def encode_ordinary(self, text: str) -> list[int]: ...


class TokenCounter:
    """Of one model; `counter_for` makes it. Counting waits for nothing."""

    def __init__(self, encoding: Encoding, margin: float) -> None:
        self._encoding = encoding
        self._margin = margin

    def count(self, text: str) -> int:
        return round(_remembered(self._encoding, text) * self._margin)


async def counter_for(model: str) -> TokenCounter:
    """Loads the vocabulary the first time: half a second of work, in a thread."""
    name = model.lower()
    vocabulary = "cl100k_base" if _OLDER_OPENAI.match(name) else "o200k_base"
    if vocabulary not in _encodings:
        _encodings[vocabulary] = await asyncio.to_thread(_load, vocabulary)
    return TokenCounter(_encodings[vocabulary], 1.0 if _OPENAI.match(name) else _MARGIN)


def message_tokens(messages: Iterable[ChatMessage], counter: TokenCounter) -> int:
    """What a request with these messages has, by our count."""
    total = REQUEST_TOKENS
    for message in messages:
        content = message["content"]
        total += MESSAGE_TOKENS
        if isinstance(content, str):
            total += counter.count(content)
            continue
        for part in content:
            total += PICTURE_TOKENS if part["type"] == "image_url" else counter.count(part["text"])
    return total


@lru_cache(maxsize=256)
def context_window(model: str) -> int:
    """The most tokens that question and answer may have together; DEFAULT_WINDOW for a model that nobody knows.

    The first call loads the table: a tenth of a second.
    """
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - a table of 1.6 MB

    try:
        _, known = get_snapshot().find_provider_model(model, None, None, None)
    except LookupError:
        return DEFAULT_WINDOW
    return known.context_window or DEFAULT_WINDOW


_encodings: dict[str, Encoding] = {}


def _load(name: str) -> Encoding:
    import bpe_openai  # type: ignore[import-untyped]  # noqa: PLC0415 - loads three vocabularies

    encoding: Encoding = bpe_openai.get_encoding(name)
    return encoding


_counts: OrderedDict[tuple[str, bytes], int] = OrderedDict()


def _remembered(encoding: Encoding, text: str) -> int:
    key = (encoding.name, hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest())
    if (known := _counts.get(key)) is not None:
        _counts.move_to_end(key)
        return known
    pieces = (text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS))
    count = sum(len(encoding.encode_ordinary(piece)) for piece in pieces)
    _counts[key] = count
    if len(_counts) > _REMEMBERED:
        _counts.popitem(last=False)
    return count
