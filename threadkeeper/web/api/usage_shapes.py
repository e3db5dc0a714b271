"""The shapes of calls, totals, prices and limits. Amounts of money are US dollars, as text with all digits."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from datalayer.records.usage import CallRow, Limit, LimitStanding, LlmCallPayload, Price, UsageTotals, plain_amount
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.usage.calls import message_of

Money = str
GivenMoney = Annotated[Decimal, Field(ge=0, le=10**15, allow_inf_nan=False)]


class Transaction(BaseModel):
    """A call to a model. What is not known is null."""

    id: str
    project_id: str | None
    project: str | None = Field(description="The name of the project.")
    user: str | None
    key_id: str | None
    thread_id: str | None
    assistant: str | None
    assistant_version: int | None
    type: str = Field(description="chat, completion, embedding, image, audio, moderation, title, other.")
    provider: str | None
    deployment: str | None
    model: str = Field(description="The model that was asked for.")
    answered_by: str | None = Field(description="The model that the provider names.")
    tags: list[str]
    os: str | None
    library: str | None
    is_streaming: bool
    attempt: int
    status_code: int | None
    finish_reason: str | None
    error_kind: str | None
    error_message: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    is_estimated: bool = Field(description="Whether the tokens were counted here, and not reported.")
    input_cost: Money | None
    output_cost: Money | None
    total_cost: Money | None
    generation_speed: float | None = Field(description="Output tokens a second.")
    seconds: float | None
    first_token_seconds: float | None
    request_time: str
    response_time: str | None


class WholeTransaction(Transaction):
    """A call with its messages, while they are kept."""

    price: dict[str, Any] | None = Field(description="With which the costs were calculated.")
    messages: list[dict[str, Any]] | None
    response: str | None
    prompt: str | None = Field(description="The text of the last message that was sent.")
    last_message: str | None = Field(description="The text of the answer.")
    is_withheld: bool = Field(description="Whether the messages are another user's and need a purpose.")


class TransactionPage(BaseModel):
    data: list[Transaction]
    next_cursor: str | None


class Totals(BaseModel):
    """Sums and means of calls. `unpriced` calls have tokens but no known cost, and are not in the costs."""

    calls: int
    failed: int
    unpriced: int
    estimated: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    input_cost: Money
    output_cost: Money
    total_cost: Money
    mean_seconds: float | None
    mean_generation_speed: float | None
    first_token_p50: float | None
    first_token_p95: float | None


class Group(BaseModel):
    """The totals of the calls with one value; null is without one."""

    value: str | None
    name: str | None
    totals: Totals


class UsageReport(BaseModel):
    """Totals from `since` to before `until`, and their groups."""

    since: str
    until: str
    zone: str
    by: str
    totals: Totals
    groups: list[Group]
    count: int = Field(description="Of all groups.")
    rest: Totals | None = Field(description="The sums of the groups behind this page; null on the last one.")
    next_cursor: str | None


class Bucket(BaseModel):
    """The totals of an interval, from `start` to before `end`; `value` if the series is split."""

    start: str
    end: str
    value: str | None
    totals: Totals


class Statistics(BaseModel):
    since: str
    until: str
    zone: str
    interval: str
    data: list[Bucket]
    next_cursor: str | None


class PriceRow(BaseModel):
    """US dollars for a million tokens, and for an image. Without `cached`, cached tokens cost as much as `input`."""

    id: str
    provider: str | None
    model: str = Field(description="A regular expression for the whole name.")
    input: Money
    cached: Money | None
    output: Money
    image: Money | None
    valid_from: str
    is_active: bool


class NewPrice(Strict):
    """US dollars for a million tokens, and for an image."""

    model: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="A regular expression for the whole name."
    )
    input: GivenMoney
    output: GivenMoney
    cached: GivenMoney | None = None
    image: GivenMoney | None = None
    provider: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="`openai`, `azure`, or a host without its port; by default every provider."
    )
    valid_from: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="A day or a time; by default now. Past calls keep their cost."
    )


class PricePage(BaseModel):
    """The first price that matches a call is its price."""

    data: list[PriceRow]
    next_cursor: str | None


class LimitRow(BaseModel):
    """The most tokens or US dollars of a day or a month, and how much of it is used."""

    id: str
    scope: Literal["user", "users", "project", "key"]
    subject_id: str | None
    period: Literal["day", "month"]
    unit: Literal["tokens", "dollars"]
    amount: str
    used: str | None = Field(description="Null if the limit does not concern this key.")
    in_flight: str | None = Field(description="What calls in progress may use.")
    left: str | None
    ends_at: str | None


class NewLimit(Strict):
    """Of a user, a project or a key; or of each user, without a subject."""

    scope: Literal["user", "users", "project", "key"]
    subject: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="The identifier of the user, the slug of the project, or the id of the key."
    )
    period: Literal["day", "month"]
    unit: Literal["tokens", "dollars"]
    amount: GivenMoney


class ChangedLimit(Strict):
    amount: GivenMoney


class LimitList(BaseModel):
    data: list[LimitRow]
    next_cursor: str | None


def money(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_amount(amount)


def transaction_of(row: CallRow) -> Transaction:
    return Transaction(**_fields(row))


def whole_transaction_of(row: CallRow, payload: LlmCallPayload | None, *, is_withheld: bool) -> WholeTransaction:
    messages = payload.messages if payload else None
    response = payload.response if payload else None
    return WholeTransaction(
        **_fields(row),
        price=row.call.price,
        messages=messages,
        response=response,
        prompt=message_of(messages[-1]).text if messages else None,
        last_message=response,
        is_withheld=is_withheld,
    )


def _fields(row: CallRow) -> dict[str, Any]:
    call = row.call
    same = (
        *("id", "project_id", "key_id", "thread_id", "assistant", "assistant_version", "provider", "deployment"),
        *("model", "answered_by", "library", "is_streaming", "attempt", "status_code", "finish_reason", "error_kind"),
        *("error_message", "cached_tokens", "reasoning_tokens", "is_estimated", "seconds", "first_token_seconds"),
    )
    return {name: getattr(call, name) for name in same} | {
        "project": row.project,
        "user": row.user,
        "type": call.kind,
        "tags": list(call.tags),
        "os": call.operating_system,
        "input_tokens": call.prompt_tokens,
        "output_tokens": call.completion_tokens,
        "input_cost": money(call.input_cost),
        "output_cost": money(call.output_cost),
        "total_cost": money(call.total_cost),
        "generation_speed": call.tokens_per_second,
        "request_time": call.requested_at,
        "response_time": call.responded_at,
    }


def totals_of(found: UsageTotals) -> Totals:
    return Totals(
        calls=found.calls,
        failed=found.failed,
        unpriced=found.unpriced,
        estimated=found.estimated,
        input_tokens=found.prompt_tokens,
        cached_tokens=found.cached_tokens,
        output_tokens=found.completion_tokens,
        reasoning_tokens=found.reasoning_tokens,
        total_tokens=found.total_tokens,
        input_cost=plain_amount(found.input_cost),
        output_cost=plain_amount(found.output_cost),
        total_cost=plain_amount(found.total_cost),
        mean_seconds=found.mean_seconds,
        mean_generation_speed=found.mean_tokens_per_second,
        first_token_p50=found.first_token_p50,
        first_token_p95=found.first_token_p95,
    )


def price_of(price: Price) -> PriceRow:
    return PriceRow(
        id=price.id,
        provider=price.provider,
        model=price.pattern,
        input=plain_amount(price.input),
        cached=money(price.cached),
        output=plain_amount(price.output),
        image=money(price.image),
        valid_from=price.valid_from,
        is_active=price.is_active,
    )


def limit_of(limit: Limit, standing: LimitStanding | None) -> LimitRow:
    return LimitRow(
        id=limit.id,
        scope=limit.scope,
        subject_id=limit.subject_id,
        period=limit.period,
        unit=limit.unit,
        amount=plain_amount(limit.amount),
        used=money(standing.used) if standing else None,
        in_flight=money(standing.in_flight) if standing else None,
        left=money(standing.left) if standing else None,
        ends_at=standing.ends_at if standing else None,
    )
