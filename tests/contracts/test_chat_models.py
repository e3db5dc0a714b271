"""What admins decide about the models of the chat: for whom each is, and which is the default."""

import asyncio

import pytest
from sqlalchemy import delete, select, text

from datalayer import acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import Forbidden, InvalidAssistant, InvalidRecord
from datalayer.records.assistants import AssistantAccess
from datalayer.schema.chat import migrations
from datalayer.schema.chat_models import chat_model_users, chat_models
from tests.support.records import user_id


@pytest.fixture
async def people(layer: ChainlitLayer) -> None:
    for name, role in (("alice", "user"), ("bob", "user"), ("rita", "reviewer"), ("ada", "admin"), ("eve", "admin")):
        await user_id(layer, name)
        await layer.set_role(name, role)


async def usable(layer: ChainlitLayer, actor: str | None) -> dict[str, bool]:
    with acting_as(actor):
        return {one.name: one.may_use for one in await layer.usable_chat_models()}


async def test_a_model_is_for_everyone_a_role_named_users_or_nobody(layer: ChainlitLayer, people: None) -> None:
    await layer.put_chat_model("open", AssistantAccess(), by="ada")
    await layer.put_chat_model(" reviewed ", AssistantAccess("role", "reviewer"), by="ada")
    await layer.put_chat_model("named", AssistantAccess("users", users=("ALICE", "alice")), by="ada")
    await layer.put_chat_model("away", None, by="ada")
    everyone = {"open": True, "reviewed": False, "named": False, "away": False}
    assert await usable(layer, "bob") == everyone
    assert await usable(layer, None) == everyone
    assert await usable(layer, "alice") == everyone | {"named": True}
    assert await usable(layer, "rita") == everyone | {"reviewed": True}
    assert await usable(layer, "ada") == everyone | {"named": True, "reviewed": True}
    found = {one.name: one for one in await layer.list_chat_models()}
    assert [one.is_offered for one in found.values()] == [False, True, True, True], "the newest is first"
    assert found["named"].access == AssistantAccess("users", users=("alice",))
    # A disabled account has no model for some.
    await layer.set_disabled("alice", True)
    assert await usable(layer, "alice") == everyone
    entries = [one for one in (await layer.list_audit()).entries if one.action == "change_model"]
    assert {one.actor for one in entries} == {"ada"}
    alice = await user_id(layer, "alice")
    assert [one.details for one in entries] == [
        {"model": "away", "access": "nobody"},
        {"model": "named", "access": "users", "users": [alice]},
        {"model": "reviewed", "access": "role", "role": "reviewer"},
        {"model": "open", "access": "everyone"},
    ]


async def test_a_decision_is_changed_and_taken_back(layer: ChainlitLayer, people: None) -> None:
    await layer.put_chat_model("one", AssistantAccess("users", users=("alice", "bob")))
    await layer.put_chat_model("one", AssistantAccess("users", users=("bob",)))
    assert (await usable(layer, "alice"), await usable(layer, "bob")) == ({"one": False}, {"one": True})
    await layer.put_chat_model("one", AssistantAccess())
    await layer.reset_chat_model("one", by="ada")
    assert await layer.list_chat_models() == []
    async with layer.database.read() as connection:
        assert (await connection.execute(select(chat_model_users))).all() == []
    await layer.reset_chat_model("never decided")
    entry = (await layer.list_audit()).entries[1]
    assert (entry.actor, entry.details) == ("ada", {"model": "one", "access": "setting"})


async def test_one_model_is_the_default(layer: ChainlitLayer, people: None) -> None:
    async def default() -> list[tuple[str, bool | None]]:
        return [(one.name, one.is_offered) for one in await layer.list_chat_models() if one.is_default]

    await layer.put_default_chat_model("one", by="ada")
    assert await default() == [("one", None)]
    await layer.put_chat_model("two", AssistantAccess())
    await layer.put_default_chat_model("two")
    assert await default() == [("two", True)]
    assert [one.name for one in await layer.list_chat_models()] == ["two"], "nothing else was decided about the first"
    await layer.reset_chat_model("two")
    assert await default() == [("two", None)], "it stays the default"
    await asyncio.gather(*(layer.put_default_chat_model(name) for name in "abcd"))
    assert await default() == [("d", None)]
    await layer.put_default_chat_model(None, by="eve")
    assert await layer.list_chat_models() == []
    entry = (await layer.list_audit()).entries[0]
    assert (entry.action, entry.actor, entry.details) == ("change_default_model", "eve", {"model": None})


async def test_what_is_not_valid_stores_nothing(layer: ChainlitLayer, people: None) -> None:
    for name in ("", " ", "x" * 201, "a\nb"):
        with pytest.raises(InvalidRecord):
            await layer.put_chat_model(name, None)
        with pytest.raises(InvalidRecord):
            await layer.put_default_chat_model(name)
    for access, field in (
        (AssistantAccess("users", users=("nobody of this name",)), "users"),
        (AssistantAccess("users"), "users"),
        (AssistantAccess("role", "user"), "role"),
        (AssistantAccess("all"), "access"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidAssistant) as refused:
            await layer.put_chat_model("one", access)
        assert [one.field for one in refused.value.problems] == [field]
    for actor in ("ada", None):
        with acting_as(actor):
            for work in (
                layer.put_chat_model("one", None),
                layer.reset_chat_model("one"),
                layer.put_default_chat_model("one"),
                layer.list_chat_models(),
            ):
                with pytest.raises(Forbidden):
                    await work
    assert await layer.list_chat_models() == []
    assert (await layer.list_audit()).entries == () or all(
        not one.action.startswith("change_model") for one in (await layer.list_audit()).entries
    )


async def test_a_deleted_user_is_named_nowhere(layer: ChainlitLayer, people: None) -> None:
    await layer.put_chat_model("one", AssistantAccess("users", users=("alice", "bob")))
    receipt = await layer.delete_user("alice")
    assert receipt.rows["chat_model_users"] == 1
    assert (await layer.list_chat_models())[0].access.users == ("bob",)
    # A user who comes later with the same name gets nothing.
    await user_id(layer, "alice")
    assert await usable(layer, "alice") == {"one": False}


async def test_a_database_of_an_earlier_version_gets_the_tables(layer: ChainlitLayer) -> None:
    async with layer.database.write() as connection:
        for table in (chat_model_users, chat_models):
            await connection.execute(text(f"DROP TABLE {table.name}"))
        await connection.execute(delete(migrations).where(migrations.c.name == "choose_chat_models"))
    assert await layer.pending_migrations() == ["choose_chat_models"]
    assert await layer.migrate() == ["choose_chat_models"]
    await layer.put_default_chat_model("one")
    assert [one.name for one in await layer.usable_chat_models()] == ["one"]
    # The version before goes on using the database: the migration only adds.
    async with layer.database.read() as connection:
        statement = select(migrations.c.phase).where(migrations.c.name == "choose_chat_models")
        assert (await connection.execute(statement)).scalar_one() == "before"
