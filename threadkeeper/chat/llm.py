"""What the chat asks of a language model, and nothing of how it is reached.

A model streams an answer as `Delta`s and exactly one `Finish`, or raises `ModelError`: of a kind that has words
for the user, with a detail for the operator's log that never holds a key. `create_model` gives OpenAI, Azure
OpenAI, any server that speaks the same protocol, or, with none of them configured, the demo model that says
that it is one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from datalayer.cleaning import utc_now
from datalayer.usage_records import LimitStanding, LlmCall
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
    "over_limit",  # the user, or the project, may use no more for now; no server was asked
    "in_flight",  # likewise, because of answers that are still being written
    "limit_unchecked",  # nobody can say now what may still be used
    "unpriced",  # there is a limit in dollars, and nobody knows what the model costs
]

NEED_ANOTHER_MODEL: frozenset[ErrorKind] = frozenset({"not_found", "unpriced"})
"""After these the same question to the same model fails again, until its operator does something."""


class ModelError(Exception):
    """Why there is no answer, or no more of it.

    `detail` is for the log; `values` fill the sentence for the user (`too_long`: tokens, window; `over_limit`: the
    `LimitStanding` as `standing`, and, where only this question has no room, as `need` what it must have left).
    `usage` is the bill of an answer that came whole and says nothing.
    """

    def __init__(self, kind: ErrorKind, detail: str, values: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.values = dict(values or {})
        self.usage: Usage | None = None


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
class Purpose:
    """What a call is for, and whose it is. It is kept with the call, and no server is told of it.

    `on_call` is told of each row that is about to be kept, before the caller has the end of the answer; `on_warning`
    once when little is left of what may be used.
    """

    kind: str = "chat"
    user_id: str | None = None
    thread_id: str | None = None
    step_id: str | None = None
    assistant: str | None = None
    tags: tuple[str, ...] = ()
    on_call: Callable[[LlmCall], None] | None = None
    on_warning: Callable[[LimitStanding], Awaitable[None]] | None = None


@dataclass(slots=True)
class Attempt:
    """One request that went out to the server. `error` and `seconds` (until then) are set where it failed as such;
    one that was answered has a status and no error, whatever becomes of the answer."""

    requested_at: str = field(default_factory=utc_now)
    began: float = field(default_factory=time.perf_counter)
    status_code: int | None = None
    error: ModelError | None = None
    seconds: float | None = None

    def fail(self, error: ModelError) -> None:
        self.error, self.seconds = error, time.perf_counter() - self.began


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model. `max_tokens` bounds the answer; None leaves it to the server.

    `attempts` fills while the question is under way: one for each time that it was sent.
    """

    messages: Sequence[ChatMessage]
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    purpose: Purpose = Purpose()
    attempts: list[Attempt] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Who answers: the provider's name (for a server that is nobody's known, its host), the address, and what it is
    reached with. At Azure the name of a model is the name of a deployment."""

    provider: str
    base_url: str
    library: str | None = None
    has_deployments: bool = False


class Model(Protocol):
    demo: bool
    """True when no language model is behind it."""

    @property
    def source(self) -> Source: ...

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
