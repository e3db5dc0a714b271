"""The interface of a language model: requests, streamed answers, token usage and errors.

A model streams an answer as parts (`AnswerPart`) and exactly one `Finish`, or raises `ModelError`. Each kind of error
has a sentence for the user; its detail goes into the operator's log and never contains a key. `providers.create_model`
makes models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from datalayer.cleaning import utc_now
from datalayer.records.usage import LimitStanding, LlmCall
from threadkeeper.chat.messages import ChatMessage

ErrorKind = Literal[
    "auth",  # the key is refused, or may not use this model
    "quota",  # the operator's account has run out
    "rate_limit",  # too many requests, after the retries
    "server",  # the server failed, or its answer cannot be parsed
    "timeout",  # no data for too long, before the first chunk or between two
    "cut",  # the answer broke off
    "unreachable",  # no connection
    "refused",  # the server does not accept this request
    "filtered",  # its content filter left nothing
    "empty",  # an answer without text
    "not_shown",  # an answer of content that is not shown, such as calls of tools
    "thought_only",  # the model thought, and ended without an answer
    "thought_limit",  # the maximum of tokens was used up by thought
    "not_found",  # no such model
    "wrong_address",  # the server has no chat at this address
    "too_long",  # more tokens than the model's window
    "no_pictures",  # the model takes no pictures
    "picture_refused",  # a picture is too large, or cannot be read
    "over_limit",  # a limit of the user or the project is reached; no request was sent
    "in_flight",  # the rest of a limit is reserved for answers in progress; no request was sent
    "limit_unchecked",  # the limits cannot be read at the moment
    "unpriced",  # there is a limit in dollars, and no price for the model
    "knowledge_away",  # the passages for a question cannot be searched at the moment
    "knowledge_missing",  # this server has no embedding model
    "knowledge_outdated",  # the assistant was trained with another embedding model
]

NEED_ANOTHER_MODEL: frozenset[ErrorKind] = frozenset({"not_found", "unpriced"})
"""After these errors the same question to the same model fails again, until the operator changes something."""


class ModelError(Exception):
    """The reason why there is no answer, or no complete one.

    Attributes:
        detail: for the log.
        values: fill the sentence for the user. `too_long`: `tokens`, `window`. `over_limit`: `standing`
            (LimitStanding), and `need` (tokens or dollars that this question needs) if a shorter question would fit.
            `too_long` from a server that names its window: `limit` (tokens). `wait`: seconds that the server asks to
            wait, if that is longer than the time-out. `status`: the HTTP status of a refusal. `not_shown`: `kinds`
            (of ContentKind). `unreachable`: `is_sent` is False if there was no connection for the request.
        usage, partial: what the server reported of the answer, as in `Finish`.
    """

    def __init__(self, kind: ErrorKind, detail: str, values: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.values = dict(values or {})
        self.usage: TokenUsage | None = None
        self.partial: PartialUsage | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of text of the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The next piece of what the model thinks before or while it answers; it is not part of the answer.

    If `takes_back` is set, all text of the answer so far turned out to be thought. Otherwise `text` is never empty.
    """

    text: str = ""
    takes_back: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the answer."""

    mime: str
    data: bytes = field(repr=False)


ContentKind = Literal["pictures", "sound", "calls", "files", "other"]
"""What an answer can have beside its text. "calls": of tools, which this chat does not offer to models."""


@dataclass(frozen=True, slots=True)
class NotShown:
    """The answer has content of this kind, and it is not shown. Each kind comes once."""

    kind: ContentKind


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that the server billed; None if it does not report them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class PartialUsage:
    """The usable part of a report that is not complete or contradicts itself. None: the server reports no such number.

    `total_tokens` is set only if nothing is known about prompt and completion.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def completed(self, counted: TokenUsage) -> TokenUsage:
        """The usage with the missing numbers as they were counted."""
        if self.total_tokens is not None:
            completion = max(
                self.total_tokens - counted.prompt_tokens, min(counted.completion_tokens, self.total_tokens)
            )
            return TokenUsage(self.total_tokens - completion, completion)
        prompt = counted.prompt_tokens if self.prompt_tokens is None else self.prompt_tokens
        completion = counted.completion_tokens if self.completion_tokens is None else self.completion_tokens
        cached, reasoning = self.cached_tokens, self.reasoning_tokens
        return TokenUsage(
            prompt,
            completion,
            cached if cached is not None and cached <= prompt else None,
            reasoning if reasoning is not None and reasoning <= completion else None,
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an answer: the server's finish_reason ("stop", "length", "content_filter"), billed tokens, and the
    name of the model that answered. `partial` is set instead of `usage` if the report cannot be used as a whole.
    `service_tier` is the one in which the server answered, as it names it.
    `response_id` is the id that the server gave the answer.
    """

    reason: str | None
    usage: TokenUsage | None
    model: str | None
    partial: PartialUsage | None = None
    service_tier: str | None = None
    response_id: str | None = field(default=None, compare=False)


AnswerPart = Thought | Delta | Picture | NotShown
AnswerEvent = AnswerPart | Finish


def plain_reason(reason: str | None) -> str:
    """The finish_reason in the form in which reasons are compared.

    Gemini says more behind a colon, as in "content_filter: PROHIBITED_CONTENT", and some gateways write the name of
    Python's enumeration, as in "FinishReason.MAX_TOKENS".
    """
    return (reason or "").partition(":")[0].strip().rpartition(".")[2].lower()


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer that was not streamed, the thought that came before it, and what it has beside its text."""

    text: str
    finish: Finish
    thought: str = ""
    others: tuple[Picture | NotShown, ...] = ()


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a call is made, and for which user. It is stored with the call and not sent to the server.

    `key_id` is the id of the API key of the program that asks, if it is one, and `project_id` the project that pays, if
    it is not the default one.

    `on_call` gets each row of usage before it is stored and before the answer ends for the caller. `on_warning` is
    awaited when a limit is nearly reached. `on_wait` waits the given seconds before a request is repeated; it can show
    the wait.
    """

    kind: str = "chat"
    user_id: str | None = None
    thread_id: str | None = None
    step_id: str | None = None
    assistant: str | None = None
    assistant_version: int | None = None
    tags: tuple[str, ...] = ()
    key_id: str | None = None
    project_id: str | None = None
    on_call: Callable[[LlmCall], None] | None = None
    on_warning: Callable[[LimitStanding], Awaitable[None]] | None = None
    on_wait: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class Attempt:
    """One request that was sent to the server. If the request itself failed, `error` and `seconds` (its duration) are
    set. A request that was answered has a status code and no error, even if its answer breaks off later.
    `answered_by` is the name of the model that answers, `service_tier` the tier in which it does, and `response_id` the
    id of the answer, as soon as the server has sent them."""

    requested_at: str = field(default_factory=utc_now)
    began: float = field(default_factory=time.perf_counter)
    status_code: int | None = None
    error: ModelError | None = None
    seconds: float | None = None
    answered_by: str | None = None
    service_tier: str | None = None
    response_id: str | None = None

    def fail(self, error: ModelError) -> None:
        self.error, self.seconds = error, time.perf_counter() - self.began


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next tokens are chosen, beside the temperature; None or empty leaves it to the server.

    `logit_bias` has pairs of a token id and its bias.
    """

    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: tuple[tuple[str, float], ...] = ()
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model. `max_tokens` bounds the answer; None leaves its length to the server.

    The model adds one item to `attempts` each time it sends the request, and to `left_out` the names of the parameters
    without which the server took it. `wait_until` (of `time.perf_counter`): no
    retry begins later; if None, the model's own time-out counts from the first attempt. `gather_seconds`: after some
    text, the model may read the next as late as this, because its caller shows no text earlier. `demo_answer`: what
    the demo answers in place of its own sentences.
    """

    messages: Sequence[ChatMessage]
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    purpose: Purpose = Purpose()
    attempts: list[Attempt] = field(default_factory=list, compare=False)
    wait_until: float | None = None
    gather_seconds: float = 0.0
    sampling: Sampling = Sampling()
    left_out: list[str] = field(default_factory=list, compare=False)
    demo_answer: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The server that answers: the provider's name (the host name if the provider is unknown), the address, and the
    client library. On Azure, the name of a model is the name of a deployment."""

    provider: str
    base_url: str
    library: str | None = None
    has_deployments: bool = False


class Model(Protocol):
    demo: bool
    """True if no language model is connected."""

    source: Source

    def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Stream the answer. Raises ModelError, before the first event or after any of them."""

    async def complete(self, request: ModelRequest) -> Completion:
        """The whole answer. Raises ModelError."""

    async def load(self) -> None:
        """Import what the first request needs. Not needed before a request, which loads by itself."""

    async def close(self) -> None: ...
