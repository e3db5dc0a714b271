"""Reads prices from a CSV or JSON file and reports the problem of every invalid line."""

import codecs
import csv
import hashlib
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from datalayer.billing.cleaning import clean_price
from datalayer.cleaning import clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Price

_NEEDED = ("model", "input", "output")
COLUMNS = (*_NEEDED, "cached", "image", "provider", "valid_from")
"""The columns of a CSV file, or the keys of a JSON object. The first three are needed."""
MOST_PRICES = 2_000
"""Of one file."""


class PriceFileError(Exception):
    """The file cannot be read, or some lines are invalid. `problems` has one sentence per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


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
    problems: list[str] = []
    prices: list[Price] = []
    digest = hashlib.sha256(content).hexdigest()
    try:
        for number, (where, values) in enumerate(_entries(name, content), 1):
            if number > MOST_PRICES:
                raise PriceFileError([f"{name} contains more than {MOST_PRICES:,} prices: divide it."])
            price_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{now}\n{digest}\n{number}"))
            try:
                prices.append(_price(price_id, values, now, zone))
            except (InvalidRecord, ValueError) as error:
                problems.append(f"{where}: {error}.")
    except (ValueError, csv.Error, RecursionError) as error:
        raise PriceFileError([f"Cannot read {name}: {error}."]) from None
    if not prices and not problems:
        problems.append(f"{name} contains no prices.")
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


def _entries(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry of the file with its position, such as `line 3`."""
    kind = PurePath(name).suffix.lower()
    if kind not in (".csv", ".json"):
        raise PriceFileError([f"{name} is not a .csv or .json file."])
    # UTF-8, or the UTF-16 that Excel calls "Unicode text".
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if kind == ".json":
        # As text: Python refuses to convert an integer of more than 4,300 digits.
        read = json.loads(text, parse_int=str)
        if not isinstance(read, list):
            raise PriceFileError([f"{name} must contain a list of objects."])
        for number, entry in enumerate(read, 1):
            yield f"entry {number}", entry if isinstance(entry, dict) else {}
        return
    file = io.StringIO(text, newline="")
    # Excel writes what the country writes: semicolons where a comma begins decimals, or tabs.
    header = file.readline()
    file.seek(0)
    reader = csv.DictReader(file, strict=True, delimiter=max(",;\t", key=header.count))
    names = [one.strip().lower() for one in reader.fieldnames or ()]
    if missing := [one for one in _NEEDED if one not in names]:
        raise PriceFileError([f"line 1: the column {missing[0]} is missing."])
    if twice := [one for one in names if names.count(one) > 1]:
        raise PriceFileError([f"line 1: the column {twice[0]} occurs twice."])
    reader.fieldnames = names
    for entry in reader:
        yield f"line {reader.line_num}", entry


def _price(price_id: str, values: Mapping[str, Any], now: str, zone: str) -> Price:
    """Raises ValueError and InvalidRecord."""
    # If a CSV line has more values than the header, the reader puts the rest under None.
    for name in values:
        if name not in COLUMNS:
            raise ValueError(f"unknown column {clean_text(name)}" if name else "there are more values than columns")
    given = {name: str(value).strip() for name, value in values.items() if value not in (None, "")}
    for name in _NEEDED:
        if not given.get(name):
            raise ValueError(f"{name} is missing")
    return clean_price(
        Price(
            id=price_id,
            pattern=given["model"],
            valid_from=time_in(given["valid_from"], zone) if given.get("valid_from") else now,
            input=_amount(given, "input"),
            output=_amount(given, "output"),
            cached=_amount(given, "cached") if given.get("cached") else None,
            image=_amount(given, "image") if given.get("image") else None,
            provider=given.get("provider"),
        )
    )


def _amount(given: Mapping[str, str], name: str) -> Decimal:
    try:
        return Decimal(given[name])
    except InvalidOperation:
        raise ValueError(f"{name} must be a number, not {given[name]!r}") from None
