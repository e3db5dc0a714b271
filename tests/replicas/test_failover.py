"""The primary dies while fifty writers write, and its standby is promoted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from datalayer import create_data_layer
from datalayer.database import Database
from tests.support.faulty_network import FaultyNetwork
from tests.support.many_writers import ManyWriters
from tests.support.pgbouncer import movable_pgbouncer, through
from tests.support.postgres import Databases
from tests.support.standby import Pair, primary_and_standby

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

# In session mode, each connection of a client needs one of the server.
_POOL_SIZES = {"transaction": 4, "session": 30}


@dataclass(frozen=True)
class Way:
    """How a layer reaches the primary: the URL, and what an operator does to lead it to the standby."""

    url: str
    move: Callable[[], None] = lambda: None


@asynccontextmanager
async def reached(way: str, pair: Pair, url: str) -> AsyncIterator[Way]:
    """`hosts`: the URL names both. `proxy`: a TCP proxy. The others: PgBouncer in this mode."""
    if way == "hosts":
        yield Way(pair.url_of_both(url, "target_session_attrs=read-write"))
    elif way == "proxy":
        ours, theirs = (urlsplit(one.url).port or 0 for one in (pair.primary, pair.standby))
        async with FaultyNetwork(ours) as proxy:
            yield Way(through(url, proxy.port), lambda: proxy.point_at(theirs))
    else:
        with movable_pgbouncer(pair.primary.url, way, pool_size=_POOL_SIZES[way]) as pooler:
            yield Way(through(url, pooler.port), lambda: pooler.point_at(pair.standby.url))


@pytest.mark.parametrize("way_to", ["hosts", "proxy", "transaction", "session"])
async def test_writes_wait_for_the_promoted_standby_and_none_is_lost_or_doubled(
    way_to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with primary_and_standby(synchronous=True) as pair:
        databases = Databases(pair.primary.url)
        url = databases.create()
        databases.close()
        async with reached(way_to, pair, url) as way:
            layer = create_data_layer(way.url)
            await layer.migrate()
            writers = ManyWriters(layer)
            async with writers.writing():
                await writers.more_acknowledged(300)
                died = time.monotonic()
                await asyncio.to_thread(pair.primary.halt)
                # Led to the standby before it is promoted, as by a proxy that looks only for a server that answers.
                way.move()
                await asyncio.sleep(1)
                known = writers.acknowledged
                await asyncio.to_thread(pair.standby.promote)
                promoted = time.monotonic()
                assert writers.acknowledged == known, "a standby takes no writes"
                await writers.more_acknowledged(1)
                took = time.monotonic() - promoted
                await writers.more_acknowledged(300)
            witness = create_data_layer(pair.on_standby(url))
            counts = await writers.compared_with(witness)
            await witness.close()
            await layer.close()
            with capsys.disabled():
                late = promoted - died
                print(f"{way_to}: writes went on {took:.1f} s after the promotion, which was {late:.1f} s late")
            assert counts.broken == 0
            assert counts.failures.total() == 0, "the change was shorter than the patience"
            assert await doubled_votes(pair.on_standby(url)) == 0


async def doubled_votes(url: str) -> int:
    """How many votes have more than one row in their history, though each was cast once."""
    database = Database(url)
    try:
        async with database.read() as connection:
            rows = 'SELECT "forId" FROM feedback_changes GROUP BY "forId" HAVING count(*) > 1'
            return len((await connection.execute(text(rows))).all())
    finally:
        await database.close()
