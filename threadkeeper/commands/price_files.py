"""Reads prices from a CSV or JSON file and reports the problem of every invalid line."""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from datalayer.billing.cleaning import clean_price
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Price
from threadkeeper.commands.database import new_id, time_in

_NEEDED = ("model", "input", "output")
_KNOWN = frozenset({*_NEEDED, "cached", "image", "provider", "valid_from"})


class PriceFileError(Exception):
    """The file cannot be read, or some lines are invalid. `problems` has one sentence per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def read_prices(path: Path, now: str, zone: str) -> list[Price]:
    """The prices in the file.

    Args:
        now: `valid_from` of prices that have none.
        zone: the time zone of dates.

    Raises:
        PriceFileError: the file cannot be read, is empty, or contains an invalid price.
    """
    problems: list[str] = []
    prices: list[Price] = []
    try:
        for where, values in _entries(path):
            try:
                prices.append(_price(values, now, zone))
            except (InvalidRecord, ValueError) as error:
                problems.append(f"{where}: {error}.")
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PriceFileError([f"Cannot read {path}: {reason}."]) from None
    if not prices and not problems:
        problems.append(f"{path} contains no prices.")
    if problems:
        raise PriceFileError(problems)
    return prices


def _entries(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry of the file with its position, such as `line 3`."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".json"):
        raise PriceFileError([f"{path} is not a .csv or .json file."])
    if kind == ".json":
        read = json.loads(path.read_text(_encoding(path)))
        if not isinstance(read, list):
            raise PriceFileError([f"{path} must contain a list of objects."])
        for number, entry in enumerate(read, 1):
            yield f"entry {number}", entry if isinstance(entry, dict) else {}
        return
    with path.open(encoding=_encoding(path), newline="") as file:
        # Excel writes what the country writes: semicolons where a comma begins decimals, or tabs.
        header = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, strict=True, delimiter=max(",;\t", key=header.count))
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if missing := [name for name in _NEEDED if name not in names]:
            raise PriceFileError([f"line 1: the column {missing[0]} is missing."])
        if twice := [name for name in names if names.count(name) > 1]:
            raise PriceFileError([f"line 1: the column {twice[0]} occurs twice."])
        reader.fieldnames = names
        for entry in reader:
            yield f"line {reader.line_num}", entry


def _encoding(path: Path) -> str:
    """UTF-8, or the UTF-16 that Excel calls "Unicode text"."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _price(values: Mapping[str, Any], now: str, zone: str) -> Price:
    """Raises ValueError and InvalidRecord."""
    # If a CSV line has more values than the header, the reader puts the rest under None.
    for name in values:
        if name not in _KNOWN:
            raise ValueError(f"unknown column {name}" if name else "there are more values than columns")
    given = {name: str(value).strip() for name, value in values.items() if value not in (None, "")}
    for name in _NEEDED:
        if not given.get(name):
            raise ValueError(f"{name} is missing")
    return clean_price(
        Price(
            id=new_id(),
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
