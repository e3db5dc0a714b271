"""The filters of the inbox, read from the URL, and the URLs of other choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import get_args
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams

from datalayer.cleaning import clean_text, clean_time
from datalayer.records.review import AnswerFilter, Thumb
from threadkeeper.web.pages.failures import InvalidInput

ONE_OF_TWO = ("comment", "error", "reviewed", "flagged", "unknown")
SEVERAL = ("reason", "assistant", "version", "model", "user", "tag", "label")
NAMES = ("words", "thumb", *ONE_OF_TWO, "assigned", *SEVERAL, "since", "until", "min_cost", "max_cost")
ME = "me"
_MOST_VALUES, _LONGEST = 20, 300
_EARLIEST, _LATEST = date(2000, 1, 1), date(2200, 1, 1)


@dataclass(frozen=True)
class ReviewQuery:
    """A filter of answers. `parameters` has its values as in the URL."""

    which: AnswerFilter
    zone: ZoneInfo
    parameters: Mapping[str, tuple[str, ...]] = field(repr=False)

    def one(self, name: str) -> str:
        values = self.parameters.get(name)
        return values[-1] if values else ""

    @property
    def text(self) -> str:
        """The filter as the query of a URL."""
        return self._text(self.parameters)

    def address(self, path: str, **changes: str | Sequence[str] | None) -> str:
        """The URL of `path` with this filter and the given changes; None removes a parameter."""
        parameters: dict[str, Sequence[str]] = {**self.parameters}
        for name, value in changes.items():
            parameters[name] = (value,) if isinstance(value, str) else value or ()
        text = self._text(parameters)
        return f"{path}?{text}" if text else path

    def without(self, path: str, name: str, value: str) -> str:
        """The URL of this filter without this value."""
        return self.address(path, **{name: tuple(one for one in self.parameters[name] if one != value)})

    @staticmethod
    def _text(parameters: Mapping[str, Sequence[str]]) -> str:
        names = (*NAMES, *(name for name in parameters if name not in NAMES))
        return urlencode([(name, value) for name in names for value in parameters.get(name, ())])


def read_review_query(
    parameters: QueryParams | str, zone: ZoneInfo, *, me: str, may_be_reversed: bool = False
) -> ReviewQuery:
    """Read a filter. Unknown parameters are ignored.

    Args:
        parameters: of a URL, or the text that a saved view stores.
        zone: the reader's; days begin there.
        me: the identifier that "me" stands for.
        may_be_reversed: whether a range may end before it begins, which finds nothing.

    Raises:
        InvalidInput: a value is invalid.
    """
    pairs = _pairs(parameters) if isinstance(parameters, str) else parameters.multi_items()
    given: dict[str, tuple[str, ...]] = {}
    for name in NAMES:
        values = [clean_text(value).strip() for found, value in pairs if found == name]
        given[name] = tuple(dict.fromkeys(value for value in values if value))
        if name not in SEVERAL:
            # The last value counts, as in a form.
            given[name] = given[name][-1:]
        if len(given[name]) > _MOST_VALUES or any(len(value) > _LONGEST for value in given[name]):
            raise InvalidInput("bad_filter", most=_MOST_VALUES)

    def one(name: str) -> str | None:
        return given[name][-1] if given[name] else None

    thumb = one("thumb")
    found: Thumb | None = next((known for known in get_args(Thumb) if known == thumb), None)
    if thumb is not None and found is None:
        raise InvalidInput("bad_choice", value=thumb[:60])
    assigned = one("assigned")
    which = AnswerFilter(
        thumb=found,
        has_comment=_either(one("comment")),
        reasons=given["reason"],
        assistants=given["assistant"],
        models=given["model"],
        users=given["user"],
        tags=given["tag"],
        since=_day(one("since"), zone, is_end=False),
        until=_day(one("until"), zone, is_end=True),
        min_cost=_money(one("min_cost")),
        max_cost=_money(one("max_cost")),
        is_error=_either(one("error")),
        is_reviewed=_either(one("reviewed")),
        labels=given["label"],
        assigned_to=me if assigned == ME else assigned,
        is_flagged=_either(one("flagged")),
        words=one("words"),
        versions=given["version"],
        is_unknown=_either(one("unknown")),
    )
    if not may_be_reversed:
        demand_order(which)
    return ReviewQuery(which, zone, {name: values for name, values in given.items() if values})


def demand_order(which: AnswerFilter) -> None:
    """Require that no range ends before it begins.

    Raises:
        InvalidInput: one does.
    """
    if which.since is not None and which.until is not None and which.since >= which.until:
        raise InvalidInput("bad_order")
    if which.min_cost is not None and which.max_cost is not None and which.min_cost > which.max_cost:
        raise InvalidInput("bad_cost_order")


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, max_num_fields=200)
    except ValueError:
        raise InvalidInput("bad_filter", most=_MOST_VALUES) from None


def _either(value: str | None) -> bool | None:
    if value is None:
        return None
    if value not in ("yes", "no"):
        raise InvalidInput("bad_choice", value=value[:60])
    return value == "yes"


def _day(value: str | None, zone: ZoneInfo, *, is_end: bool) -> str | None:
    """The instant at which a day begins or ends."""
    if value is None:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise InvalidInput("bad_date", value=value[:60]) from None
    if not _EARLIEST <= day <= _LATEST:
        raise InvalidInput("bad_date", value=value[:60])
    midnight = datetime.combine(day + timedelta(days=is_end), time(), zone)
    return clean_time(midnight, "day")


def _money(value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidInput("bad_amount", value=value[:60]) from None
    if not (amount.is_finite() and 0 <= amount <= 1_000_000):
        raise InvalidInput("bad_amount", value=value[:60])
    return amount
