"""Reads prices from a CSV or JSON file and reports the problem of every invalid line.

Problems are keys of the catalogue with their values, so that the page says them in the language of its reader.
"""

import codecs
import csv
import hashlib
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from datalayer.billing.cleaning import DEAREST, clean_price, is_kept_whole
from datalayer.billing.prices import LONGEST_PATTERN, compile_pattern
from datalayer.cleaning import clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Price

_NEEDED = ("model", "input", "output")
COLUMNS = (*_NEEDED, "cached", "image", "provider", "valid_from")
"""The columns of a CSV file, or the keys of a JSON object. The first three are needed."""
MOST_PRICES = 2_000
"""Of one file."""


_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PriceFileProblem:
    """What is wrong with a file: a key of the catalogue with its values, and where it is.

    `place` is the key of the words for the place, such as "line 3"; None if the problem is one of the whole file.
    """

    key: str
    values: Mapping[str, str | int]
    place: str | None = None
    number: int = 0

    def said(self, say: Callable[..., str]) -> str:
        """As this function says messages."""
        words = say(self.key, **self.values)
        return words if self.place is None else say(self.place, number=self.number, words=words)


class PriceFileError(Exception):
    """The file cannot be read, or some lines are invalid."""

    def __init__(self, problems: list[PriceFileProblem]) -> None:
        super().__init__(", ".join(one.key for one in problems))
        self.problems = problems


class _BadPrice(Exception):
    """A price is not valid: a key of the catalogue, and its values."""

    def __init__(self, key: str, **values: str | int) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def read_prices(name: str, content: bytes, now: str, zone: str) -> list[Price]:
    """The prices in a file. Each has the same id whenever the same content is read with the same `now`.

    Args:
        name: of the file, which ends with `.csv` or `.json`.
        content: of the file.
        now: `valid_from` of prices that have none.
        zone: the time zone of dates.

    Raises:
        PriceFileError: the file cannot be read, is empty, has more than `MOST_PRICES`, or contains an invalid price.
    """
    problems: list[PriceFileProblem] = []
    prices: list[Price] = []
    digest = hashlib.sha256(content).hexdigest()
    try:
        for number, (place, at, values) in enumerate(_entries(name, content), 1):
            if number > MOST_PRICES:
                raise _of_file("price_file_too_many", name=name, most=MOST_PRICES)
            price_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{now}\n{digest}\n{number}"))
            try:
                prices.append(_price(price_id, values, now, zone))
            except _BadPrice as error:
                problems.append(PriceFileProblem(error.key, error.values, place, at))
    except UnicodeDecodeError:
        raise _of_file("price_file_no_text", name=name) from None
    except json.JSONDecodeError as error:
        raise _of_file("price_file_no_json", name=name, line=error.lineno, column=error.colno) from None
    except csv.Error:
        raise _of_file("price_file_no_csv", name=name) from None
    except (ValueError, RecursionError):
        raise _of_file("price_file_unreadable", name=name) from None
    if not prices and not problems:
        raise _of_file("price_file_empty", name=name)
    if problems:
        raise PriceFileError(problems)
    return prices


def time_in(text: str, zone: str) -> str:
    """The text as a stored time. Dates, and times without a time zone, are in this zone.

    Raises:
        InvalidRecord: not a valid time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    kept = clean_time(moment.replace(tzinfo=moment.tzinfo or ZoneInfo(zone)) if moment else text, "time")
    if kept is None:
        raise InvalidRecord("the time is empty: give a date, such as 2026-11-21")
    return kept


def _of_file(key: str, place: str | None = None, number: int = 0, **values: str | int) -> PriceFileError:
    return PriceFileError([PriceFileProblem(key, values, place, number)])


def _entries(name: str, content: bytes) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Each entry of the file with its place: the key of its words, and the number in it."""
    kind = PurePath(name).suffix.lower()
    if kind not in (".csv", ".json"):
        raise _of_file("price_file_kind", name=name)
    # UTF-8, or the UTF-16 that Excel calls "Unicode text".
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if kind == ".json":
        # As text: Python refuses to convert an integer of more than 4,300 digits.
        read = json.loads(text, parse_int=str)
        if not isinstance(read, list):
            raise _of_file("price_file_no_list", name=name)
        for number, entry in enumerate(read, 1):
            yield "price_file_entry", number, entry if isinstance(entry, dict) else {}
        return
    file = io.StringIO(text, newline="")
    # Excel writes what the country writes: semicolons where a comma begins decimals, or tabs.
    header = file.readline()
    file.seek(0)
    reader = csv.DictReader(file, strict=True, delimiter=max(",;\t", key=header.count))
    names = [one.strip().lower() for one in reader.fieldnames or ()]
    if missing := [one for one in _NEEDED if one not in names]:
        raise _of_file("price_file_no_column", "price_file_line", 1, column=missing[0])
    if twice := [one for one in names if names.count(one) > 1]:
        raise _of_file("price_file_column_twice", "price_file_line", 1, column=_shown(twice[0]))
    reader.fieldnames = names
    for entry in reader:
        yield "price_file_line", reader.line_num, entry


def _price(price_id: str, values: Mapping[str, Any], now: str, zone: str) -> Price:
    """Raises _BadPrice."""
    # If a CSV line has more values than the header, the reader puts the rest under None.
    for name in values:
        if name is None:
            raise _BadPrice("price_file_more")
        if name not in COLUMNS:
            raise _BadPrice("price_file_unknown", column=_shown(name))
    # A list or an object counts as missing, as no value does.
    given = {name: str(value).strip() for name, value in values.items() if isinstance(value, str | int | float)}
    for name in _NEEDED:
        if not given.get(name):
            raise _BadPrice("price_file_missing", column=name)
    try:
        compile_pattern(given["model"])
    except InvalidRecord:
        raise _BadPrice("money_bad_pattern", most=LONGEST_PATTERN) from None
    valid_from = now
    if given.get("valid_from"):
        try:
            valid_from = time_in(given["valid_from"], zone)
        except InvalidRecord:
            raise _BadPrice("price_file_time", value=_shown(given["valid_from"])) from None
    return clean_price(
        Price(
            id=price_id,
            pattern=given["model"],
            valid_from=valid_from,
            input=_amount(given, "input"),
            output=_amount(given, "output"),
            cached=_amount(given, "cached") if given.get("cached") else None,
            image=_amount(given, "image") if given.get("image") else None,
            provider=given.get("provider"),
        )
    )


def _amount(given: Mapping[str, str], name: str) -> Decimal:
    try:
        amount = Decimal(given[name])
    except InvalidOperation:
        raise _BadPrice("price_file_number", column=name, value=_shown(given[name])) from None
    if not is_kept_whole(amount, DEAREST):
        raise _BadPrice("price_file_amount", column=name, most=int(DEAREST))
    return amount


def _shown(text: str) -> str:
    return clean_text(text)[:_LONGEST_SHOWN]
