"""The operator's own prices, which are added and ended but never changed, and the patterns of their models.

A pattern is a regular expression for the names of the models that have the price. It is matched during a chat, on the
event loop, so a pattern that could take long is refused when the price is added: its number of choices is bounded.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from re import _constants, _parser  # type: ignore[attr-defined, unused-ignore]
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import InvalidRecord, NotFound
from datalayer.records.usage import Price
from datalayer.schema.rows import columns, given, record_of
from datalayer.schema.usage import prices

LONGEST_PATTERN = 200
LONGEST_NAME = 200
"""The longest name of a model that is matched with patterns."""

_MOST_WAYS = 10**7
_IDS_A_STATEMENT = 1_000
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
_PLAIN = (
    *(_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.CATEGORY, _constants.RANGE),
    _constants.AT,
)
_COLUMNS = columns(Price, prices)


async def list_all(connection: AsyncConnection) -> list[Price]:
    """All prices, newest first. The first one that matches a call is its price."""
    newest_first = (prices.c.validFrom.desc(), prices.c.createdAt.desc(), prices.c.id)
    rows = (await connection.execute(select(*_COLUMNS).order_by(*newest_first))).mappings()
    return [record_of(Price, prices, row) for row in rows]


async def add(connection: AsyncConnection, new: Sequence[Price]) -> None:
    empty = dict.fromkeys(column.name for column in _COLUMNS)
    await connection.execute(insert(prices), [empty | given(price, prices) for price in new])


async def are_stored(connection: AsyncConnection, new: Sequence[Price]) -> bool:
    """Whether all of these prices are stored with their ids; some may have ended since."""
    ids, stored = [one.id for one in new], dict[str, Price]()
    for at in range(0, len(ids), _IDS_A_STATEMENT):
        which = prices.c.id.in_(ids[at : at + _IDS_A_STATEMENT])
        for row in (await connection.execute(select(*_COLUMNS).where(which))).mappings():
            one = record_of(Price, prices, row)
            stored[one.id] = replace(one, is_active=True, created_at=None)
    return all(stored.get(one.id) == replace(one, is_active=True, created_at=None) for one in new)


async def deactivate(connection: AsyncConnection, price_id: str) -> None:
    """End the price.

    Raises:
        NotFound: there is no such price.
    """
    statement = update(prices).where(prices.c.id == price_id).values(isActive=False)
    if (await connection.execute(statement)).rowcount == 0:
        raise NotFound(f"the price {price_id} does not exist: list the prices to see their ids")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled pattern, for use with `fullmatch`. It ignores case.

    Raises:
        InvalidRecord: it is not a regular expression, or could take too long to match.
    """
    if not pattern or len(pattern) > LONGEST_PATTERN:
        raise InvalidRecord(f"a pattern needs 1 to {LONGEST_PATTERN} characters", field="model")
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
        ways = _ways(_parser.parse(pattern, re.IGNORECASE))
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidRecord(f"the pattern {pattern!r} is not a regular expression ({error})", field="model") from None
    if ways > _MOST_WAYS:
        raise InvalidRecord(
            f"the pattern {pattern!r} could take too long: use at most three of *, + or {{m,n}}", field="model"
        )
    return compiled


def _ways(parsed: Any) -> int:
    """An upper bound of the ways to match a text of `LONGEST_NAME` characters: the product of all choices.

    Raises:
        InvalidRecord: there is no bound, because a repetition contains a choice or a repetition.
    """
    ways = 1
    for operation, argument in parsed:
        if operation in _PLAIN:
            continue
        if operation is _constants.SUBPATTERN:
            ways *= _ways(argument[-1])
        elif operation is _constants.BRANCH:
            ways *= sum(_ways(branch) for branch in argument[1])
        elif operation in _REPEATS:
            least, most, repeated = argument
            inside = _ways(repeated)
            if most == least:
                ways *= inside ** min(most, LONGEST_NAME)
            elif inside == 1:
                ways *= min(most, LONGEST_NAME) - min(least, LONGEST_NAME) + 1
            elif most == 1:
                ways *= inside + 1
            else:
                raise InvalidRecord(
                    "a pattern must not repeat a group that itself contains *, +, ? or |", field="model"
                )
        else:
            raise InvalidRecord(
                "a pattern must not contain a lookaround, a back reference or an atomic group", field="model"
            )
        if ways > _MOST_WAYS:
            return ways
    return ways
