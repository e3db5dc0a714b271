"""What the chat asks of a language model, and nothing of how it is reached.

A model streams an answer as `Delta`s and exactly one `Finish`, or raises `ModelError`: of a kind that has words
for the user, with a detail for the operator's log that never holds a key. `create_model` gives OpenAI, Azure
OpenAI, any server that speaks the same protocol, or, with none of them configured, the demo model that says
that it is one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from threadkeeper.chat.messages import ChatMessage

OPENAI_BASE_URL = "https://api.openai.com/v1"
AZURE_API_VERSION = "2024-10-21"

ErrorKind = Literal[
    "auth",  # the key is refused, or may not use this model
    "quota",  # the operator's account has run out
    "rate_limit",  # too many requests, after the retries
    "server",  # the server failed, or answered what nobody can read
    "timeout",  # silence, before the first chunk or between two
    "cut",  # the answer broke off
    "unreachable",  # no connection
    "refused",  # the server does not accept this request
    "filtered",  # its content filter left nothing
    "empty",  # an answer without a word
    "not_found",  # no such model
    "too_long",  # more tokens than the model's window
]


class ModelError(Exception):
    """Why there is no answer, or no more of it.

    `detail` is for the log; `values` fill the sentence for the user (`too_long`: tokens, window).
    """

    def __init__(self, kind: ErrorKind, detail: str, values: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.values = dict(values or {})


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server billed them; None where it does not say."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """How the answer ended: the server's finish_reason ("stop", "length", "content_filter"), its bill, its name of
    the model.
    """

    reason: str | None
    usage: Usage | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that came whole."""

    text: str
    finish: Finish


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model. `max_tokens` bounds the answer; None leaves it to the server."""

    messages: Sequence[ChatMessage]
    model: str
    temperature: float | None = None
    max_tokens: int | None = None


class Model(Protocol):
    demo: bool
    """True when no language model is behind it."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        """Raises ModelError, before the first Delta or after any of them."""

    async def complete(self, request: ModelRequest) -> Completion:
        """Raises ModelError."""

    async def close(self) -> None: ...


def create_model(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    azure_endpoint: str | None = None,
    azure_api_key: str | None = None,
    azure_api_version: str | None = None,
    timeout_seconds: float = 60.0,
    max_retries: int = 2,
) -> Model:
    """Azure when its endpoint is given; else OpenAI or the server at `base_url`; with no key and no address, the demo.

    `timeout_seconds` is the longest silence: until a connection, until the first chunk, and between two chunks.
    """
    # The openai package takes half a second to import: the demo does without.
    if azure_endpoint or api_key or base_url:
        from threadkeeper.chat.openai_model import OpenAIModel, azure_client, openai_client  # noqa: PLC0415

        if azure_endpoint:
            version = azure_api_version or AZURE_API_VERSION
            client = azure_client(azure_endpoint, azure_api_key, version, timeout_seconds, max_retries)
        else:
            client = openai_client(base_url or OPENAI_BASE_URL, api_key, timeout_seconds, max_retries)
        return OpenAIModel(client)

    from threadkeeper.chat.demo import DemoModel  # noqa: PLC0415

    return DemoModel()
