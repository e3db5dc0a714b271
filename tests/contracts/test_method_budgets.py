"""Every method of Chainlit's `BaseDataLayer` keeps its budget: round trips on Postgres, each of one statement, and
statements on SQLite."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from chainlit.context import init_http_context
from chainlit.data.base import BaseDataLayer

import datalayer
from benchmarks import data
from benchmarks.methods import METHODS, WITHOUT_STATEMENTS, Method, begin, new_thread, quiet
from tests.support.counted import counted

WARM_UPS = 2


@pytest.fixture(params=METHODS, ids=lambda method: method.title)
def method(request: pytest.FixtureRequest) -> Iterator[Method]:
    found: Method = request.param
    yield found


async def test_a_method_takes_the_statements_of_its_budget(
    method: Method, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_http_context()
    async with counted(database_url, tmp_path / "files", monkeypatch) as counter:
        layer = counter.layer
        await quiet(layer)
        await begin(layer)
        with datalayer.acting_as(data.USER):
            await new_thread(layer)
            # The first call opens a connection and prepares the statement.
            for _ in range(WARM_UPS + 1):
                prepared = await method.prepare(layer)
                with datalayer.acting_as(None if method.is_login else data.USER):
                    counter.reset()
                    await method.call(layer, prepared)
                    found = counter.trips, counter.statements
    if database_url.startswith("sqlite"):
        assert found[1] == method.statements
    else:
        assert found == (method.trips, method.trips)


def test_every_method_of_the_base_class_has_a_budget() -> None:
    methods = {name for name, _ in inspect.getmembers(BaseDataLayer, inspect.isfunction) if not name.startswith("_")}
    assert {method.name for method in METHODS} | WITHOUT_STATEMENTS == methods
