"""The filters of calls in a URL of the API, and the period of totals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Query

from datalayer.cleaning import clean_time, utc_now
from datalayer.records.usage import CallFilter
from threadkeeper.web.api.problems import Problem, invalid
from threadkeeper.web.pages.dependencies import Pages

_DEFAULT_DAYS = 30
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

Text = Annotated[str, Query(min_length=1, max_length=300)]
Texts = Annotated[list[Annotated[str, Query(min_length=1, max_length=300)]], Query(max_length=20)]
StatusClass = Literal["0", "1", "2", "3", "4", "5"]


@dataclass(frozen=True, slots=True)
class CallsQuery:
    """A filter of calls. `zone` is that of days."""

    which: CallFilter
    zone: ZoneInfo

    def of_period(self, cursor: str | None = None) -> CallFilter:
        """The filter with both times: by default the last 30 days, until now.

        Args:
            cursor: of the page before. It begins with its period, which goes on: the default one moves.

        Raises:
            Problem: the period ends before it begins, or the cursor has none.
        """
        times = (cursor or "~").split("~")[:2]
        if len(times) != 2:
            raise invalid("query.cursor", "it is not the `next_cursor` of a page")
        begun, ended = (instant(one or None, self.zone, "query.cursor") for one in times)
        until = self.which.until or ended or utc_now()
        begin = datetime.fromisoformat(until) - timedelta(days=_DEFAULT_DAYS)
        since = self.which.since or begun or clean_time(begin, "since")
        if since is None or since >= until:
            raise _of_no_time()
        return replace(self.which, since=since, until=until)


async def _calls_query(
    *,
    pages: Pages,
    since: Annotated[
        str | None,
        Query(max_length=40, description="The first day or time (ISO 8601). A day begins in `zone`."),
    ] = None,
    until: Annotated[str | None, Query(max_length=40, description="The day or time before which.")] = None,
    zone: Annotated[
        str | None, Query(max_length=60, description="A time zone as `Europe/Berlin`; by default the server's.")
    ] = None,
    project: Annotated[Texts, Query(description="Slugs of projects: any of them.")] = [],  # noqa: B006
    provider: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: B006
    model: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: B006
    provider_model: Annotated[
        Texts, Query(description="A provider and a model with a point between, as `openai.gpt-4o`: any of them.")
    ] = [],  # noqa: B006
    tag: Annotated[Texts, Query(description="A call must have all of them.")] = [],  # noqa: B006
    type: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: A002, B006
    status: Annotated[
        list[StatusClass], Query(max_length=6, description="Classes of status codes, 0 for none: any of them.")
    ] = [],  # noqa: B006
    user_id: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: B006
    key_id: Annotated[Texts, Query(description="Any of them.")] = [],  # noqa: B006
) -> CallsQuery:
    clock = zone_named(zone or pages.time_zone)
    begun, ended = period(since, until, clock)
    which = CallFilter(
        since=begun,
        until=ended,
        project_slugs=tuple(project),
        providers=tuple(provider),
        models=tuple(model),
        provider_models=tuple(provider_model),
        all_tags=_distinct(tag),
        kinds=tuple(type),
        statuses=tuple(int(one) for one in status),
        user_ids=tuple(user_id),
        key_ids=tuple(key_id),
    )
    return CallsQuery(which, clock)


Calls = Annotated[CallsQuery, Depends(_calls_query)]


def zone_named(name: str) -> ZoneInfo:
    """The time zone.

    Raises:
        Problem: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise invalid("query.zone", f"there is no time zone {name[:60]!r}") from None


def instant(text: str | None, zone: ZoneInfo, field: str) -> str | None:
    """The UTC time of a day or a time, which is in the zone if it names none; None for no text.

    Raises:
        Problem: it is none, or is outside of the years 2000 to 2199.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        moment = found.replace(tzinfo=zone) if found.tzinfo is None else found
        if not _EARLIEST <= moment < _LATEST:
            raise invalid(field, "it is outside of the years 2000 to 2199")
        return clean_time(moment, field)
    except (ValueError, OverflowError):
        raise invalid(field, "it is no day and no time of ISO 8601, as 2026-03-01 or 2026-03-01T09:00:00Z") from None


def period(since: str | None, until: str | None, zone: ZoneInfo) -> tuple[str | None, str | None]:
    """The UTC times of the parameters `since` and `until`, as `instant` gives them.

    Raises:
        Problem: one is no time, or the period ends before it begins.
    """
    begun, ended = instant(since, zone, "query.since"), instant(until, zone, "query.until")
    if begun is not None and ended is not None and begun >= ended:
        raise _of_no_time()
    return begun, ended


def _of_no_time() -> Problem:
    return invalid("query.until", "the period must end after it begins")


def _distinct(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def demand_own_filters(query: CallsQuery, *, sees_all: bool) -> None:
    """Require that nobody filters by others' users: the answer would be empty and look as if nothing was called.

    Raises:
        Problem: the caller sees the own calls alone.
    """
    if query.which.user_ids and not sees_all:
        raise Problem(403, "forbidden", "Only admins filter by user.", [("query.user_id", "it is for admins")])
