"""Frozen records of model calls, their totals, prices, projects and limits.

Tokens are those that the provider reports; otherwise they are estimated and marked as such. Costs are US dollars as
`Decimal`. None means unknown, never zero. Times are UTC texts (`YYYY-MM-DDTHH:MM:SS.ffffffZ`), durations are seconds.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Dimension = Literal["model", "provider", "user", "project", "key", "assistant", "version", "tag", "kind", "status"]
"""The dimensions by which calls are grouped. "key" is an API key; "version" is an assistant with its version, as in
`travel@3`; "status" is the class of the status code: 2 for 200 to 299, 0 for none."""

Interval = Literal["5 minutes", "hour", "day", "week", "month", "year"]

Period = Literal["day", "month"]

Scope = Literal["user", "users", "project", "key"]
"""What a limit is for: one user, each user, a project, or an API key."""


def tokens_per_second(completion_tokens: int | None, seconds: float | None) -> float | None:
    """The speed of a call: output tokens per second. None if one of the two is unknown or zero."""
    return completion_tokens / seconds if completion_tokens and seconds else None


STOPPED = "stopped"
"""The `finish_reason` of a call that its caller ended."""

IN_PROGRESS = "in_progress"
"""The `finish_reason` of a call that has not ended yet."""

INTERRUPTED = "interrupted"
"""The `error_kind` of a call whose process ended before the call."""

EMBEDDED_PROVIDER = "embedded"
"""The provider of a model that runs on this machine. It costs nothing."""


@dataclass(frozen=True, slots=True)
class LlmCall:
    """One call to a model; a failed attempt is a call, too.

    `kind` is "chat", "title", "embedding" or a name of the caller. `model` is the model asked for, `answered_by` the
    one that the provider names. `attempt` counts from 1. `status_code` is None without an answer. If `is_estimated`,
    the tokens were not reported by the provider. `first_token_seconds` and `tokens_per_second` are None if no token
    came.

    `assistant` is the slug of the assistant that was asked, `assistant_version` the number of its version. `key_id` is
    the id of the API key of the program that made the call.

    `price` is the price that the costs were calculated with, with the keys "source", "input", "cached" and "output" (US
    dollars per million tokens, as texts) and, if they apply, "image", "images" and "request". The ids of user, key,
    thread and step become None when these are deleted; the call and its costs are kept.
    """

    id: str
    kind: str
    model: str
    requested_at: str
    responded_at: str | None = None
    project_id: str | None = None
    provider: str | None = None
    deployment: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    step_id: str | None = None
    assistant: str | None = None
    answered_by: str | None = None
    attempt: int = 1
    is_streaming: bool = False
    status_code: int | None = None
    error_kind: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    is_estimated: bool = False
    query_characters: int = 0
    response_characters: int = 0
    seconds: float | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    input_cost: Decimal | None = None
    output_cost: Decimal | None = None
    total_cost: Decimal | None = None
    price: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    library: str | None = None
    operating_system: str | None = None
    assistant_version: int | None = None
    key_id: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the call failed: with an error, or with a status code of 400 or more."""
        return self.error_kind is not None or (self.status_code is not None and self.status_code >= 400)


@dataclass(frozen=True, slots=True)
class LlmCallPayload:
    """The content of a call: the messages as sent, and the answer. Secrets have been removed."""

    call_id: str
    messages: list[dict[str, Any]] | None
    response: str | None


@dataclass(frozen=True, slots=True)
class LlmCallWrite:
    """A write of a call, with its payload if that is stored."""

    call: LlmCall
    payload: LlmCallPayload | None = None


@dataclass(frozen=True, slots=True)
class CallFilter:
    """A filter of calls: from `since` to before `until`; a field with values matches calls with any of them.

    `statuses` are classes of status codes, and `versions` are assistants with their version, as in `Dimension`. A call
    must have any of `tags`, and each of `all_tags`. `project_slugs` name projects, `provider_models` a provider and a
    model with a point between, as in `openai.gpt-4o`.
    """

    since: str | None = None
    until: str | None = None
    project_ids: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    assistants: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    versions: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    all_tags: tuple[str, ...] = ()
    project_slugs: tuple[str, ...] = ()
    provider_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums, means and percentiles of calls.

    `unpriced` calls have tokens but no known cost, and are not in the costs. `estimated` calls have estimated tokens.
    Means and percentiles (50 and 95, of the seconds to the first token) are None without values.
    """

    calls: int = 0
    failed: int = 0
    unpriced: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    input_cost: Decimal = Decimal(0)
    output_cost: Decimal = Decimal(0)
    total_cost: Decimal = Decimal(0)
    mean_seconds: float | None = None
    mean_tokens_per_second: float | None = None
    mean_first_token_seconds: float | None = None
    first_token_p50: float | None = None
    first_token_p95: float | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens of prompts and completions."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def error_rate(self) -> float | None:
        """The share of calls that failed, from 0 to 1; None without calls."""
        return self.failed / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """Totals of the calls from `start` to before `end`. `value` is the dimension's value if the series is split."""

    start: str
    end: str
    value: str | None
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Totals of the calls with one value of a dimension.

    `value` is the stored value (an id for users and projects, None for calls without one), `name` the name for people.
    """

    value: str | None
    name: str | None
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of groups.

    `count` is how many groups there are in all; `more` of them are behind this page, and `rest` has their sums, without
    means and percentiles. `next_cursor` is None on the last page.
    """

    groups: tuple[UsageGroup, ...]
    count: int
    more: int
    rest: UsageTotals
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call in a list, with the names of its user and project."""

    call: LlmCall
    user: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of calls. `next_cursor` is the cursor of the next page; None on the last page."""

    rows: tuple[CallRow, ...]
    next_cursor: str | None


def plain_amount(amount: Decimal) -> str:
    """The amount in plain digits, without trailing zeros and without an exponent."""
    return f"{amount.normalize():f}"


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars per million tokens, and per image.

    It holds for the models whose whole name matches the regular expression `pattern`, without regard to case, from
    `valid_from` on until a later price matches. Without a provider it holds for all providers. Without `cached`, cached
    tokens cost as much as `input`.
    """

    id: str
    pattern: str
    valid_from: str
    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    image: Decimal | None = None
    provider: str | None = None
    is_active: bool = True
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of a project. `secret` is the name of the environment variable with the key, never the key itself.

    `passes_key`: the gateway passes the caller's own key on to the provider.
    """

    name: str
    slug: str
    base_url: str | None = None
    deployment: str | None = None
    description: str | None = None
    secret: str | None = None
    passes_key: bool = False


@dataclass(frozen=True, slots=True)
class Project:
    """A project to which calls belong. `owner` is the identifier of a user."""

    id: str
    name: str
    slug: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    organisation: str | None = None
    providers: tuple[Provider, ...] = ()
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class DeletedProject:
    """What was deleted with a project: its id, the slugs of its providers, and the ids of its limits.

    `keys` are the ids of the keys that were revoked: without their project, they would let the default one pay. Its
    calls stay in the books, without a project.
    """

    id: str
    slug: str
    providers: tuple[str, ...]
    keys: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """The most tokens or US dollars that may be used in a day or a month.

    The scope is a user, a project or an API key (`subject_id` is its id), or "users" for each user (`subject_id` is
    None).
    """

    id: str
    scope: Scope
    subject_id: str | None
    period: Period
    unit: Literal["tokens", "dollars"]
    amount: Decimal
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """The current use of a limit in the period that ends at `ends_at`.

    `used` is the sum of finished calls, `in_flight` the sum of the reservations of calls in progress.
    """

    limit: Limit
    used: Decimal
    in_flight: Decimal
    ends_at: str

    @property
    def left(self) -> Decimal:
        """The amount left for further calls, 0 or more."""
        return max(self.limit.amount - self.used - self.in_flight, Decimal(0))


@dataclass(frozen=True, slots=True)
class CallDemand:
    """The demand of a call: the tokens of its question, and the maximum tokens of its answer.

    `prompt_cost` and `answer_token_cost` (per token) are US dollars, None if the price is unknown. If a limit leaves
    less than `answer_tokens`, at most `short_answer_tokens` are reserved for the answer.
    """

    call_id: str
    user_id: str | None
    project_id: str | None
    prompt_tokens: int
    answer_tokens: int
    short_answer_tokens: int
    prompt_cost: Decimal | None = None
    answer_token_cost: Decimal | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most tokens and US dollars that a call in progress may use; `cost` is None if the price is unknown.

    `standings` are those of the limits that apply to the call, without the call itself.
    """

    id: str
    tokens: int
    cost: Decimal | None
    standings: tuple[LimitStanding, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The limit that allows no further call. If `is_unpriced`, it is in dollars and the price is unknown."""

    standing: LimitStanding
    is_unpriced: bool = False
