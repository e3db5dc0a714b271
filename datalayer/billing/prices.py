"""The operator's own prices: dated rows that are added and ended, never changed."""

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import NotFound
from datalayer.records.usage import Price
from datalayer.schema.rows import columns, given, record_of
from datalayer.schema.usage import prices

_COLUMNS = columns(Price, prices)


async def list_all(connection: AsyncConnection) -> list[Price]:
    """Every price, the newest first: the first that fits a call is the one that holds for it."""
    newest_first = (prices.c.validFrom.desc(), prices.c.createdAt.desc(), prices.c.id)
    rows = (await connection.execute(select(*_COLUMNS).order_by(*newest_first))).mappings()
    return [record_of(Price, prices, row) for row in rows]


async def add(connection: AsyncConnection, new: Sequence[Price]) -> None:
    for price in new:
        await connection.execute(insert(prices).values(**given(price, prices)))


async def deactivate(connection: AsyncConnection, price_id: str) -> None:
    """Raises NotFound where there is no such price."""
    statement = update(prices).where(prices.c.id == price_id).values(isActive=False)
    if (await connection.execute(statement)).rowcount == 0:
        raise NotFound("there is no such price")
