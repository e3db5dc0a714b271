"""The filters of answers in a URL of the API."""

from decimal import Decimal
from typing import Annotated

from fastapi import Depends, Query

from datalayer.records.review import AnswerFilter, Thumb
from threadkeeper.web.api.access import ReviewCaller
from threadkeeper.web.api.calls_query import Texts, period, zone_named
from threadkeeper.web.api.problems import invalid
from threadkeeper.web.pages.dependencies import Pages

_ME = "me"
Flag = bool | None
Amount = Annotated[Decimal | None, Query(ge=0, le=1_000_000, description="US dollars.")]


async def _answers(
    *,
    caller: ReviewCaller,
    pages: Pages,
    thumb: Thumb | None = None,
    has_comment: Flag = None,
    reason: Texts = [],  # noqa: B006
    assistant: Texts = [],  # noqa: B006
    version: Annotated[Texts, Query(description="As `travel@3`.")] = [],  # noqa: B006
    model: Texts = [],  # noqa: B006
    user: Annotated[Texts, Query(description="Identifiers.")] = [],  # noqa: B006
    tag: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: B006
    label: Annotated[Texts, Query(description="Of a verdict.")] = [],  # noqa: B006
    since: Annotated[str | None, Query(max_length=40, description="A day or a time.")] = None,
    until: Annotated[str | None, Query(max_length=40, description="The day or time before which.")] = None,
    zone: Annotated[str | None, Query(max_length=60, description="Of days; by default the server's.")] = None,
    min_cost: Amount = None,
    max_cost: Amount = None,
    is_error: Flag = None,
    is_reviewed: Flag = None,
    is_flagged: Flag = None,
    is_unknown: Annotated[Flag, Query(description="Whether the assistant said that it does not know.")] = None,
    assigned_to: Annotated[str | None, Query(max_length=300, description="A reviewer, or `me`.")] = None,
    words: Annotated[str | None, Query(max_length=300, description="All of them in one text of the thread.")] = None,
) -> AnswerFilter:
    begun, ended = period(since, until, zone_named(zone or pages.time_zone))
    if min_cost is not None and max_cost is not None and min_cost > max_cost:
        raise invalid("query.max_cost", "it is less than min_cost")
    return AnswerFilter(
        thumb=thumb,
        has_comment=has_comment,
        reasons=tuple(reason),
        assistants=tuple(assistant),
        models=tuple(model),
        users=tuple(user),
        tags=tuple(tag),
        since=begun,
        until=ended,
        min_cost=min_cost,
        max_cost=max_cost,
        is_error=is_error,
        is_reviewed=is_reviewed,
        labels=tuple(label),
        assigned_to=caller.identifier if assigned_to == _ME else assigned_to,
        is_flagged=is_flagged,
        words=words,
        versions=tuple(version),
        is_unknown=is_unknown,
    )


Answers = Annotated[AnswerFilter, Depends(_answers)]
