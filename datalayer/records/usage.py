"""What is kept of each call to a language model, and what is counted of them: frozen records, as in `records`.

Tokens are those that the provider bills; where it does not say, they are counted here and marked so. Money is US
dollars as `Decimal`; None is "unknown" and never nothing. Times are UTC texts as everywhere, durations are seconds.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Dimension = Literal["model", "provider", "user", "project", "assistant", "tag", "kind", "status"]
"""What calls are told apart by; "status" is the class of the status code: 2 for 200 to 299, 0 where there was none."""

Interval = Literal["5 minutes", "hour", "day", "week", "month", "year"]

Period = Literal["day", "month"]


def tokens_per_second(completion_tokens: int | None, seconds: float | None) -> float | None:
    """The speed of a call: output tokens for each second of it. None where either is not known, or is nothing."""
    return completion_tokens / seconds if completion_tokens and seconds else None


@dataclass(frozen=True, slots=True)
class LlmCall:
    """One call to a model, of whatever kind: an attempt that failed is one too.

    `kind` is "chat", "title", "embedding" or what the caller names. `model` is the one asked for, `answered_by` the
    one that the provider names. `attempt` counts from 1. Without an answer there is no `status_code`. `is_estimated`
    says that the tokens were counted here. `first_token_seconds` and `tokens_per_second` are None where nothing came.
    `price` is the price used: source, and US dollars for a million tokens, as texts. User, thread and step are None
    once they are gone; the bill stays.
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

    @property
    def has_failed(self) -> bool:
        """Whether it came to no good end: the provider refused it, or something else broke it off."""
        return self.error_kind is not None or (self.status_code is not None and self.status_code >= 400)


@dataclass(frozen=True, slots=True)
class LlmCallPayload:
    """What was said in a call: the messages as sent, and the answer. Secrets are taken out before it is made."""

    call_id: str
    messages: list[dict[str, Any]] | None
    response: str | None


@dataclass(frozen=True, slots=True)
class LlmCallWrite:
    """A call on its way to the store, with what was said in it if that is kept."""

    call: LlmCall
    payload: LlmCallPayload | None = None


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls: from `since` to before `until`, and of these values alone where a dimension has any."""

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


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over some calls. `unpriced` calls have tokens and no price, so the costs are without them; `estimated`
    ones have tokens that were counted here. Means and percentiles are None where there is nothing to take them of."""

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
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def error_rate(self) -> float | None:
        """The part of the calls that failed, from 0 to 1."""
        return self.failed / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """The calls from `start` to before `end`, of one value of the dimension where the series is split by one."""

    start: str
    end: str
    value: str | None
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The calls that have one value of a dimension: `value` as it is stored (an id for a user or a project, None for
    calls without one), `name` as a person says it."""

    value: str | None
    name: str | None
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as a list shows it, with the names of its user and its project."""

    call: LlmCall
    user: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some calls, and the cursor to give for those after the last of them; None at the end."""

    rows: tuple[CallRow, ...]
    next_cursor: str | None


def plain_amount(amount: Decimal) -> str:
    """The amount in digits, without the noughts that a database adds behind the point."""
    return f"{amount.normalize():f}"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens (and for an image) of the models that the regular expression matches whole,
    whatever the case, from `valid_from` on until a later one. Without a provider it holds for all of them."""

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
    """Where a project's calls go. `secret` names where the key is found (an environment variable), never the key."""

    name: str
    slug: str
    base_url: str | None = None
    deployment: str | None = None
    description: str | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant of calls. `owner` is the identifier of a user."""

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
class Limit:
    """The most that may be used in a day or a month: of tokens, or of US dollars.

    For a user (by id), for each user (`scope` "users"), or for a project.
    """

    id: str
    scope: Literal["user", "users", "project"]
    subject_id: str | None
    period: Period
    unit: Literal["tokens", "dollars"]
    amount: Decimal
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """How far a limit is used up in the period that ends at `ends_at`: by calls that have ended, and by what those
    under way may come to at most."""

    limit: Limit
    used: Decimal
    in_flight: Decimal
    ends_at: str

    @property
    def left(self) -> Decimal:
        """What a further call may come to; never less than nothing."""
        return max(self.limit.amount - self.used - self.in_flight, Decimal(0))


@dataclass(frozen=True, slots=True)
class CallDemand:
    """What a call that is about to be made will need: so many tokens for its question and so many at most for its
    answer, and, where somebody knows, what the question and each token of the answer cost. An answer that cannot have
    all that it wants is content with `short_answer_tokens`."""

    call_id: str
    user_id: str | None
    project_id: str | None
    prompt_tokens: int
    answer_tokens: int
    short_answer_tokens: int
    prompt_cost: Decimal | None = None
    answer_token_cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call under way may come to at most: tokens, and US dollars where somebody knows the price.

    `standings` are those of the limits that the call is under, without the call itself.
    """

    id: str
    tokens: int
    cost: Decimal | None
    standings: tuple[LimitStanding, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A call that may not be made, because of this limit; where it `is_unpriced`, because nobody knows its price."""

    standing: LimitStanding
    is_unpriced: bool = False


@dataclass(frozen=True, slots=True)
class Repricing:
    """What pricing calls anew changes, or has changed: how many calls with tokens were looked at, how many others were
    left out as they have none, how many get another cost, and what all of those that do came to before (some of them
    `had_none`) and come to now.

    An `unlisted` call has a cost by a price that nobody knows any more: it keeps it, or becomes unknown. All of them
    came to `unlisted_cost`.
    """

    calls: int = 0
    without_tokens: int = 0
    changed: int = 0
    had_none: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unlisted: int = 0
    unlisted_cost: Decimal = Decimal(0)
