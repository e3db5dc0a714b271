"""The list of users without SQLAlchemy: the same statement and the same records as `Accounts.list_users`."""

import asyncio
from pathlib import Path

import chainlit as cl
import pytest
from sqlalchemy import event, text

import datalayer
from datalayer.accounts.listing import LIST_USERS, users_listed_directly
from datalayer.chainlit_layer import ChainlitLayer


async def directly(url: str) -> list[datalayer.User] | None:
    # It has an event loop of its own, as in a command.
    return await asyncio.to_thread(users_listed_directly, url)


async def test_the_records_are_those_of_the_accounts(layer: ChainlitLayer, database_url: str) -> None:
    assert await directly(database_url) == []
    await layer.add_account("ada", "hash", "admin")
    await layer.add_account("Zoë 王", "hash")
    await layer.create_user(cl.User("bob", metadata={"provider": "github", "nested": {"a": [1, 2.5, None, "é"]}}))
    await layer.set_disabled("ada", True)
    # The layer is open, and its writes may be in the log of the database file only.
    users = await layer.list_users()
    assert await directly(database_url) == users
    assert len(users) == 3


async def test_the_statement_is_that_of_the_accounts(layer: ChainlitLayer) -> None:
    executed = []
    event.listen(
        layer.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, parameters, *_: executed.append((statement, tuple(parameters))),
    )
    await layer.list_users()
    statement, parameters = executed[-1]
    assert (" ".join(statement.split()), parameters) == (LIST_USERS, ())


async def test_a_database_without_tables_is_left_to_the_accounts(empty_database_url: str) -> None:
    assert await directly(empty_database_url) is None
    assert not Path(empty_database_url.removeprefix("sqlite:///")).exists(), "no file is created"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # Postgres stores valid JSON only
async def test_metadata_that_is_not_json_is_left_to_the_accounts(layer: ChainlitLayer, database_url: str) -> None:
    await layer.add_account("ada", "hash")
    async with layer.database.write() as connection:
        await connection.execute(text("UPDATE users SET metadata = '{'"))
    assert await directly(database_url) is None


@pytest.mark.parametrize("name", ["a b#c.db", "per%20cent.db", "file:odd.db", "question?timeout=3"])
async def test_the_file_is_the_one_that_sqlalchemy_opens(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{name}"
    layer = datalayer.create_data_layer(url)
    await layer.migrate()
    await layer.add_account("ada", "hash")
    users = await layer.list_users()
    await layer.close()
    expected = None if set(name) & set("%?") else users
    assert await directly(url) == expected


async def test_a_server_that_does_not_answer_is_reported_by_the_usual_way() -> None:
    assert await directly("postgresql://someone@127.0.0.1:1/nowhere") is None
