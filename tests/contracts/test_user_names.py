"""Names of users are compared without case, on each engine, and stored as they came."""

import asyncio
import logging
from pathlib import Path

import pytest
from chainlit.user import User as ChainlitUser
from sqlalchemy import delete, insert, select

import datalayer
from datalayer import AlreadyExists, AnswerFilter, NotFound, Verdict, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import name_key
from datalayer.schema.chat import migrations, users
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from tests.support.records import listed, new_id, step, thread, user_id, vote

ALIKE = [
    ("ada@x", "Ada@X"),
    ("straße", "STRASSE"),
    ("\u00e9va", "E\u0301VA"),
    ("\uff21da", "\uff41DA"),
    ("王小明a", "王小明A"),
    ("ΣΑΣ", "σας"),
    ("\u0130x", "i\u0307X"),
]
DIFFERENT = [("ada", "\uff41da"), ("\u0130x", "ix"), ("ada", "adá"), ("ada", "ada ")]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_differ_in_case_or_composition_are_alike(one: str, other: str) -> None:
    assert name_key(one) == name_key(other) == name_key(name_key(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_names_differ(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(("one", "other"), ALIKE)
async def test_a_user_is_found_by_every_spelling_and_stored_in_the_first(
    layer: ChainlitLayer, one: str, other: str
) -> None:
    ada = await layer.add_account(one, "hash", "reviewer")
    for identifier in (one, other):
        account = await layer.get_account(identifier)
        assert account is not None
        assert (account.user.id, account.user.identifier) == (ada.id, one)
        found, _ = await layer.get_account_and_login(identifier, "digest")
        assert found is not None
        assert found.user.id == ada.id
        with pytest.raises(AlreadyExists, match="exists already"):
            await layer.add_account(identifier, "other hash")
    with acting_as(None):
        merged = await layer.create_user(ChainlitUser(identifier=other, metadata={"new": 1}))
    assert (merged.id, merged.identifier, merged.metadata["new"]) == (ada.id, one, 1)
    persisted = await layer.get_user(other)
    assert persisted is not None
    assert persisted.identifier == one
    await layer.set_password(other, "new hash")
    await layer.set_disabled(other, True)
    account = await layer.get_account(one)
    assert account is not None
    assert (account.password_hash, account.user.disabled_at is not None) == ("new hash", True)
    assert [user.identifier for user in await layer.list_users()] == [one]
    receipt = await layer.delete_user(other)
    assert (receipt.owner, receipt.id) == (one, ada.id)
    with pytest.raises(NotFound):
        await layer.delete_user(one)
    await layer.add_account(other, "hash")


async def test_the_same_name_in_many_spellings_at_once_makes_one_user(layer: ChainlitLayer) -> None:
    spellings = ["ada@x", "Ada@x", "ADA@X", "aDa@X"] * 3
    made = await asyncio.gather(*(user_id(layer, name) for name in spellings))
    assert len(set(made)) == 1
    assert len(await layer.list_users()) == 1


async def test_reviews_and_limits_find_a_user_by_every_spelling(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "Uma@X")
    await layer.add_account("Rita@X", "hash", "reviewer")
    await layer.add_account("Root", "hash", "admin")
    thread_id = await thread(layer, owner)
    await layer.create_step(step(thread_id, "?"))
    answer = step(thread_id, "!", type="assistant_message")
    await layer.create_step(answer)
    with acting_as("Uma@X"):
        await layer.upsert_feedback(vote(answer["id"], 0))
    with acting_as("Rita@X"):
        await layer.open_thread_for_review(thread_id)
        await layer.put_verdict(Verdict(answer["id"], "wrong"))
        for spelling in ("uma@x", "Uma@X", "UMA@X"):
            assert (await layer.list_answers(AnswerFilter(users=(spelling,)))).rows
        assert not (await layer.list_answers(AnswerFilter(users=("um@x",)))).rows
    with acting_as("Root"):
        assert (await layer.list_audit(actor="RITA@x")).entries
        assert not (await layer.list_audit(actor="rit@x")).entries


async def test_a_takeout_of_another_spelling_goes_to_the_existing_user(layer: ChainlitLayer, tmp_path: Path) -> None:
    owner = await user_id(layer, "Ada@X")
    thread_id = await thread(layer, owner, name="hers")
    path = tmp_path / "takeout.zip"
    await export_user(layer.database, None, "ada@x", path)
    await layer.delete_user("ADA@x")
    kept = await layer.add_account("ada@X", "hash", "reviewer")
    own = await thread(layer, kept.id, name="her own")
    report = await import_user(layer.database, None, path)
    assert (report.user, report.asked_user, report.made_user) == ("ada@X", "Ada@X", False)
    assert sorted(await listed(layer, kept.id)) == sorted([thread_id, own])
    with acting_as("ada@X"):
        found = await layer.get_thread(thread_id)
    assert found["userIdentifier"] == "ada@X"


async def test_names_that_an_older_database_has_twice_stay_and_are_logged(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    ids = {name: new_id() for name in ("ADA", "Ada", "ada", "Bo")}
    async with layer.database.write() as connection:
        await connection.execute(delete(users))
        await connection.execute(delete(migrations).where(migrations.c.name == "compare_names_without_case"))
        for day, name in enumerate(("Ada", "ADA", "ada", "Bo"), 1):
            row = {"id": ids[name], "identifier": name, "metadata": {}, "createdAt": f"2026-01-0{day}T00:00:00.000000Z"}
            await connection.execute(insert(users).values(row))
    with caplog.at_level(logging.WARNING):
        assert await layer.migrate() == ["compare_names_without_case"]
    assert "'Ada', 'ADA', 'ada' differ only in case" in caplog.text
    assert "Bo" not in caplog.text
    assert await layer.names_alike() == [("Ada", "ADA", "ada")]

    async def found(name: str) -> str | None:
        account = await layer.get_account(name)
        return account.user.identifier if account else None

    assert [await found(name) for name in ("ADA", "Ada", "ada", "aDa", "bo")] == ["ADA", "Ada", "ada", "Ada", "Bo"]
    threads = {name: await thread(layer, ids[name]) for name in ("ADA", "Ada", "ada")}
    for name, thread_id in threads.items():
        assert await user_id(layer, name) == ids[name], "a login stores the user again"
        with acting_as(name):
            assert await listed(layer, ids[name]) == [thread_id]
    with pytest.raises(AlreadyExists, match="as 'Ada'"):
        await layer.add_account("aDa", "hash")

    # The next of them is found by all spellings when the first is deleted; its own threads stay.
    assert (await layer.delete_user("Ada")).threads == (threads["Ada"],)
    assert [await found(name) for name in ("ADA", "Ada", "ada", "aDa")] == ["ADA", "ADA", "ada", "ADA"]
    assert await layer.names_alike() == [("ADA", "ada")]
    await layer.delete_user("ada")
    assert await layer.names_alike() == []
    async with layer.database.read() as connection:
        assert set((await connection.execute(select(users.c.nameKey))).scalars()) == {"ada", "bo"}


async def test_a_user_whom_another_program_added_is_found_by_every_spelling_after_the_next_login(
    layer: ChainlitLayer,
) -> None:
    added = new_id()
    async with layer.database.write() as connection:
        await connection.execute(insert(users).values(id=added, identifier="Eve", metadata={}))
    assert await layer.get_account("eve") is None
    assert await user_id(layer, "Eve") == added
    account = await layer.get_account("eve")
    assert account is not None
    assert account.user.id == added
    assert datalayer.User is type(account.user)
