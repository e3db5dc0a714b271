"""Counts tokens locally, and looks up the context windows of models.

The tokenizer uses OpenAI's vocabularies (bpe-openai, 27 MB of text per second). For models of other vendors, the count
is an estimate, so 10 % is added. Counts are cached by content, so a long thread is not counted again with every turn.
Windows come from the table that ships with genai-prices; nothing is fetched.

A vocabulary takes 70 MB of memory, which the library never frees. So it lives in a process of its own, which starts
when something must be counted and ends after five minutes without a request. Most threads are so far from their window
that nothing must be counted: a token is at least one byte, so a text has at most as many tokens as bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from threadkeeper.chat.context.token_worker import count_tokens
from threadkeeper.chat.messages import ChatMessage
from threadkeeper.programs import command

logger = logging.getLogger(__name__)

DEFAULT_WINDOW = 8_192
PRICED_WINDOW = 32_768
"""The window of a model that the table knows without a window. A hosted model with a price takes at least this many
tokens, with few and old exceptions; a smaller number would leave out messages that the model could read."""
# The maximum for a picture of any size by OpenAI's rule for GPT-4o: 85 tokens, and 170 for each of up to 8 tiles.
# https://platform.openai.com/docs/guides/images-vision#calculating-costs
PICTURE_TOKENS = 85 + 8 * 170
# The frame of a message, and of the whole request:
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
MESSAGE_TOKENS = 4
REQUEST_TOKENS = 3

_MARGIN = 1.1
_REMEMBERED = 20_000
_IDLE_SECONDS = 300.0
# Counting the longest thread takes a second.
_PATIENCE_SECONDS = 10.0
# The library's own table of models ends with GPT-4.1; OpenAI has kept to the newer vocabulary since GPT-4o.
_OLDER_OPENAI = re.compile(r"gpt-(3|4(?![o.]))")
_OPENAI = re.compile(r"(gpt|chatgpt)-|o\d")


class TokenCounter:
    """Counts for one model; `counter_for` makes it."""

    def __init__(self, vocabulary: str, margin: float) -> None:
        self._vocabulary = vocabulary
        self._margin = margin

    def most(self, text: str) -> int:
        """An upper bound of the tokens of a text, without a vocabulary."""
        return round(len(_bytes(text)) * self._margin)

    async def count(self, text: str) -> int:
        """The tokens of a text."""
        return (await self.counts([text]))[0]

    async def counts(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text."""
        keys = [(self._vocabulary, hashlib.blake2b(_bytes(text), digest_size=16).digest()) for text in texts]
        found = {key: _counts[key] for key in keys if key in _counts}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            counted = await asyncio.to_thread(_worker.count, self._vocabulary, list(missing.values()))
            found.update(zip(missing, counted, strict=True))
        for key in keys:
            _counts[key] = found[key]
            _counts.move_to_end(key)
        while len(_counts) > _REMEMBERED:
            _counts.popitem(last=False)
        return [round(found[key] * self._margin) for key in keys]


def counter_for(model: str) -> TokenCounter:
    """The counter of a model. Nothing is loaded yet."""
    name = model.lower()
    vocabulary = "cl100k_base" if _OLDER_OPENAI.match(name) else "o200k_base"
    return TokenCounter(vocabulary, 1.0 if _OPENAI.match(name) else _MARGIN)


async def message_tokens(messages: Iterable[ChatMessage], counter: TokenCounter) -> int:
    """The tokens of a request with these messages."""
    total, texts = REQUEST_TOKENS, list[str]()
    for message in messages:
        tokens, its_texts = frame_and_texts(message)
        total += tokens
        texts += its_texts
    return total + sum(await counter.counts(texts))


def most_message_tokens(message: ChatMessage, counter: TokenCounter) -> int:
    """An upper bound of the tokens of a message."""
    tokens, texts = frame_and_texts(message)
    return tokens + sum(map(counter.most, texts))


def frame_and_texts(message: ChatMessage) -> tuple[int, list[str]]:
    """The tokens of a message apart from its texts, and the texts."""
    content = message["content"]
    if isinstance(content, str):
        return MESSAGE_TOKENS, [content]
    texts = [part["text"] for part in content if part["type"] != "image_url"]
    return MESSAGE_TOKENS + PICTURE_TOKENS * (len(content) - len(texts)), texts


def window_of(model: str, configured: int | None, *, demo: bool) -> int:
    """The tokens that question and answer may have together: as configured, otherwise the known window."""
    if configured is not None:
        return configured
    return DEFAULT_WINDOW if demo else context_window(model)


@lru_cache(maxsize=256)
def context_window(model: str) -> int:
    """The maximum number of tokens of question and answer together.

    PRICED_WINDOW for a model that the table of prices knows without a window, DEFAULT_WINDOW for an unknown model.
    The first call loads the table: a tenth of a second.
    """
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - a table of 1.6 MB

    lookups: list[tuple[str, str | None]] = [(model, None)]
    provider, slash, name = model.partition("/")
    if slash and provider and name:
        # The maker's own entry comes first; OpenRouter names all models by maker, and lists makers that have no entry.
        lookups += [(name, provider), (model, "openrouter")]
    window = DEFAULT_WINDOW
    for name, provider_id in lookups:
        try:
            _, known = get_snapshot().find_provider_model(name, None, provider_id, None)
        except LookupError:
            continue
        if known.context_window:
            return known.context_window
        window = PRICED_WINDOW
    return window


_counts: OrderedDict[tuple[str, bytes], int] = OrderedDict()


def _bytes(text: str) -> bytes:
    # A lone surrogate has three bytes here, as many as its replacement in the library.
    return text.encode("utf-8", "surrogatepass")


class _Worker:
    """The process that counts. It is started by the first request, and again if it has ended."""

    def __init__(self, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def count(self, vocabulary: str, texts: Sequence[str]) -> list[int]:
        """The tokens of each text. Blocks its thread."""
        with self._lock:
            # An idle process may have ended just now.
            for _ in range(2):
                try:
                    return self._ask(vocabulary, texts)
                except (OSError, ValueError) as error:
                    reason = error
                    self.close()
        logger.warning("the token worker gives no answer, so tokens are counted in this process: %s", reason)
        return count_tokens(vocabulary, texts)

    def _ask(self, vocabulary: str, texts: Sequence[str]) -> list[int]:
        """Send one request. Raises OSError or ValueError if there is no answer."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        impatience = threading.Timer(_PATIENCE_SECONDS, process.kill)
        impatience.start()
        try:
            # ASCII, because UTF-8 cannot encode a lone surrogate.
            process.stdin.write(json.dumps([vocabulary, list(texts)]).encode("ascii") + b"\n")
            process.stdin.flush()
            counts: list[int] = json.loads(process.stdout.readline())
        finally:
            impatience.cancel()
        return counts

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603  our own program
            command("threadkeeper.chat.context.token_worker", str(self._idle_seconds), isolated=False),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        # Waiting removes an ended process from the system's table at once.
        threading.Thread(target=self._process.wait, name="token worker", daemon=True).start()
        return self._process

    def close(self) -> None:
        """End the process if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    # Unsent data is flushed here and fails.
                    pipe.close()


_worker = _Worker()
