"""How many statements and commits SQLite runs for the steps of a chat."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.dialects.sqlite_connections import SQLiteConnections
from tests.support.records import step, thread, user_id

Statements = list[str]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Statements:
    """The first words of the statements of the connections past SQLAlchemy, as they run."""
    found: Statements = []
    connect = SQLiteConnections._connect
    last = ""

    def note(text: str) -> None:
        nonlocal last
        # SQLite reports a statement once more for each trigger that it fires.
        if text != last:
            found.append(text.split(maxsplit=1)[0])
        last = text

    def traced(connections: SQLiteConnections) -> Any:
        connection = connect(connections)
        connection.set_trace_callback(note)
        return connection

    monkeypatch.setattr(SQLiteConnections, "_connect", traced)
    return found


@pytest.fixture
async def layer(statements: Statements, migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    assert not statements
    copy = tmp_path / "threadkeeper.db"
    copy.write_bytes(migrated_sqlite.read_bytes())
    opened = datalayer.create_data_layer(f"sqlite:///{copy}")
    yield opened
    await opened.close()


async def test_a_step_takes_one_transaction_of_three_statements(layer: ChainlitLayer, statements: Statements) -> None:
    one = step(await thread(layer, await user_id(layer, "alice")))
    await layer.create_step(one)
    assert statements == ["BEGIN", "SELECT", "INSERT", "UPDATE", "COMMIT"]
    statements.clear()
    await layer.update_step({**one, "output": "more"})
    assert statements == ["BEGIN", "SELECT", "INSERT", "COMMIT"]


async def test_steps_that_come_together_share_all_but_their_own_statement(
    layer: ChainlitLayer, statements: Statements
) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await asyncio.gather(*(layer.create_step(step(thread_id)) for _ in range(10)))
    assert Counter(statements) == {"BEGIN": 1, "SELECT": 1, "INSERT": 10, "UPDATE": 1, "COMMIT": 1}


async def test_the_steps_of_an_answer_take_six_commits_at_most(layer: ChainlitLayer, statements: Statements) -> None:
    """A run, a question, an answer that is stored at its beginning and at its end, and the end of the run."""
    thread_id = await thread(layer, await user_id(layer, "alice"))
    run = step(thread_id, type="run", name="on_message")
    answer = step(thread_id, "", type="assistant_message", parentId=run["id"])
    await layer.create_step(run)
    await layer.create_step(step(thread_id, parentId=run["id"]))
    await layer.update_step({**answer, "output": "It", "streaming": True})
    await layer.update_step({**answer, "output": "It begins", "streaming": True})
    await layer.update_step({**answer, "output": "It begins and ends"})
    await layer.update_step({**run, "end": "2026-01-01T00:00:00Z"})
    assert statements.count("COMMIT") == statements.count("BEGIN") == 6
    assert len(statements) <= 28


async def test_a_list_and_a_thread_take_one_statement(layer: ChainlitLayer, statements: Statements) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await layer.create_step(step(thread_id))
    statements.clear()
    assert await layer.get_thread(thread_id)
    assert statements.count("SELECT") + statements.count("PRAGMA") == len(statements)
    assert statements.count("SELECT") == 1
