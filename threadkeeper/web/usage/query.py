"""The period, filters and order of a usage page, read from the URL, and the URLs of the other choices.

The server stores none of it: the same URL shows the same selection to everyone who may see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams

from datalayer.cleaning import clean_text, clean_time
from datalayer.records.usage import CallFilter, Dimension, Interval
from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.pages.periods import Period, interval_of, period_of

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
Filter = Dimension | Literal["all_tag", "provider_model"]
"""What a selection is filtered by. Calls have one of the values, but all of those of "all_tag"."""
_ALSO: tuple[Filter, ...] = ("all_tag", "provider_model")
# The field of `CallFilter` for each filter, whose name is also that of the parameter.
_FIELDS: dict[Filter, str] = {
    "model": "models",
    "provider": "providers",
    "user": "user_ids",
    "project": "project_ids",
    "key": "key_ids",
    "assistant": "assistants",
    "version": "versions",
    "tag": "tags",
    "kind": "kinds",
    "all_tag": "all_tags",
    "provider_model": "provider_models",
}
_MOST_VALUES, _LONGEST_VALUE = 20, 300
_KEPT = ("period", "from", "to", "interval", "by", "order", *DIMENSIONS, *_ALSO)


@dataclass(frozen=True)
class UsageQuery:
    """A selection of calls. `chosen` has the values of each filter; `parameters` those of the URL."""

    period: Period
    interval: Interval
    zone: ZoneInfo
    by: Dimension
    order: str
    chosen: Mapping[Filter, tuple[str, ...]]
    parameters: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def calls(self) -> CallFilter:
        return self._filter(self.period.since, self.period.until)

    @property
    def calls_before(self) -> CallFilter:
        return self._filter(self.period.before_since, self.period.before_until)

    def _filter(self, since: datetime, until: datetime) -> CallFilter:
        values = {_FIELDS[dimension]: chosen for dimension, chosen in self.chosen.items() if dimension in _FIELDS}
        return CallFilter(
            since=clean_time(since, "since"),
            until=clean_time(until, "until"),
            statuses=tuple(int(status) for status in self.chosen.get("status", ())),
            **values,
        )

    def address(self, path: str, **changes: str | Sequence[str] | None) -> str:
        """The URL of `path` with this selection and the given changes; None removes a parameter."""
        parameters: dict[str, Sequence[str]] = {**self.parameters}
        for name, value in changes.items():
            # "from" is a keyword of Python: callers write "from_".
            parameters[name.rstrip("_")] = (value,) if isinstance(value, str) else value or ()
        names = (*_KEPT, *(name for name in parameters if name not in _KEPT))
        text = urlencode([(name, value) for name in names for value in parameters.get(name, ())])
        return f"{path}?{text}" if text else path

    def only(self, path: str, dimension: Dimension, value: str) -> str:
        """The URL of this selection, also filtered by this value."""
        chosen = self.chosen.get(dimension, ())
        return self.address(path, **{dimension: chosen if value in chosen else (*chosen, value)})

    def without(self, path: str, dimension: Filter, value: str) -> str:
        """The URL of this selection without the filter by this value."""
        return self.address(path, **{dimension: tuple(one for one in self.chosen[dimension] if one != value)})


def read_query(
    parameters: QueryParams,
    zone: ZoneInfo,
    *,
    dimensions: Sequence[Dimension] = DIMENSIONS,
    orders: Sequence[str],
    now: datetime | None = None,
) -> UsageQuery:
    """Read the parameters of a URL. Unknown parameters are ignored.

    Args:
        parameters: of the URL.
        zone: the reader's.
        dimensions: what this reader may filter and group by.
        orders: the sort keys of the table; the first one is the default.
        now: the current time.

    Raises:
        InvalidInput: a value is invalid.
    """
    given = {name: tuple(clean_text(value) for value in parameters.getlist(name) if value) for name in _KEPT}

    def one(name: str, default: str = "") -> str:
        return given[name][-1] if given[name] else default

    period = period_of(one("period", "30d"), zone, since=one("from"), until=one("to"), now=now)
    by = next((dimension for dimension in dimensions if dimension == one("by", "model")), None)
    if by is None:
        raise InvalidInput("bad_dimension", value=one("by")[:60])
    order = one("order", orders[0])
    if order not in orders:
        raise InvalidInput("bad_sorting", value=order[:60])
    filters: tuple[Filter, ...] = (*dimensions, *_ALSO)
    chosen = {name: tuple(dict.fromkeys(given[name])) for name in filters if given[name]}
    for values in chosen.values():
        if len(values) > _MOST_VALUES or any(len(value) > _LONGEST_VALUE for value in values):
            raise InvalidInput("bad_filter", most=_MOST_VALUES)
    for status in chosen.get("status", ()):
        if status not in ("0", "1", "2", "3", "4", "5"):
            raise InvalidInput("bad_status", value=status[:60])
    return UsageQuery(
        period,
        interval_of(period, one("interval")),
        zone,
        by,
        order,
        chosen,
        {name: values for name, values in given.items() if values},
    )
