"""Prompts that users keep: their own, and those that admins share."""

from pathlib import Path

import pytest
from sqlalchemy import update

from datalayer import acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import AlreadyExists, Forbidden, InvalidRecord, NotFound
from datalayer.records.prompts import Prompt
from datalayer.schema.prompts import prompts
from datalayer.takeout import prompts as takeout_prompts
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from tests.support.lost_answers import lost_answers
from tests.support.records import new_id, user_id


async def names(layer: ChainlitLayer, actor: str | None) -> list[tuple[str, str]]:
    with acting_as(actor):
        return [(one.name, one.owner) for one in await layer.list_prompts()]


async def test_users_keep_their_own_prompts_and_admins_share_theirs(layer: ChainlitLayer) -> None:
    for name in ("alice", "bob", "ada"):
        await user_id(layer, name)
    await layer.set_role("ada", "admin")
    await layer.add_account("second", "hash", role="admin")
    with acting_as("ada"):
        shared = await layer.put_prompt("翻译", "Translate into {language}: {text}", is_shared=True)
        await layer.put_prompt("draft", "not shared")
        same = await layer.put_prompt("short", "Be short.", is_shared=True)
    with acting_as("alice"):
        own = await layer.put_prompt(" short ", " As short as you can. ")
        assert (own.name, own.text, own.owner, own.is_shared) == ("short", "As short as you can.", "alice", False)
        with pytest.raises(AlreadyExists):
            await layer.put_prompt("short", "again")
        with pytest.raises(Forbidden):
            await layer.put_prompt("mine", "for all", is_shared=True)
        for prompt_id in (shared.id, new_id()):
            with pytest.raises(NotFound):
                await layer.put_prompt("other", "changed", prompt_id=prompt_id)
        assert not await layer.delete_prompt(shared.id)
        for name, text in (("", "x"), ("a b", "x"), ("/x", "x"), ("x" * 41, "x"), ("x", " "), ("x", "y" * 20_001)):
            with pytest.raises(InvalidRecord):
                await layer.put_prompt(name, text)
        assert await layer.list_prompts() == [own, same, shared], "one's own is before a shared one of its name"
        changed = await layer.put_prompt("brief", "Be brief.", prompt_id=own.id)
        assert changed == Prompt(own.id, "brief", "Be brief.", "alice", False, changed.updated_at)
    assert await names(layer, "bob") == [("short", "ada"), ("翻译", "ada")]
    assert await names(layer, None) == []
    for actor in (None, "nobody"):
        with acting_as(actor), pytest.raises(Forbidden):
            await layer.put_prompt("x", "y")
    with acting_as("bob"):
        assert not await layer.delete_prompt(own.id)
    with acting_as("alice"):
        assert await layer.delete_prompt(own.id)
        assert not await layer.delete_prompt(own.id)
    receipt = await layer.delete_user("ada")
    assert receipt.rows["prompts"] == 3
    assert await names(layer, "alice") == []


async def test_imported_prompts_are_as_strict_as_new_ones(
    layer: ChainlitLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        await user_id(layer, name)
    with acting_as("alice"):
        for name in ("short", "long", "third", "fourth"):
            await layer.put_prompt(name, f"Be {name}.")
    with acting_as("bob"):
        await layer.put_prompt("short", "Not so long.")
    await export_user(layer.database, None, "alice", tmp_path / "alice.zip")
    async with layer.database.write() as connection:
        await connection.execute(update(prompts).where(prompts.c.name == "third").values(name="two words"))
    await export_user(layer.database, None, "alice", tmp_path / "odd.zip")
    await layer.delete_user("alice")
    with pytest.raises(InvalidRecord, match="the name of a prompt"):
        await import_user(layer.database, layer.blobs, tmp_path / "odd.zip", as_user="bob")
    assert await names(layer, "bob") == [("short", "bob")]
    monkeypatch.setattr(takeout_prompts, "MOST_PROMPTS", 3)
    report = await import_user(layer.database, layer.blobs, tmp_path / "alice.zip", as_user="bob")
    assert (report.counts["prompts"], report.left_out_prompts) == (2, 2)
    assert await names(layer, "bob") == [("long", "bob"), ("short", "bob"), ("third", "bob")]


async def test_a_takeout_has_the_prompts_of_its_user(layer: ChainlitLayer, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        await user_id(layer, name)
    with acting_as("alice"):
        await layer.put_prompt("short", "Be short.")
        await layer.put_prompt("long", "Be long.")
    with acting_as("bob"):
        kept = await layer.put_prompt("short", "Not so long.")
    await export_user(layer.database, None, "alice", tmp_path / "alice.zip")
    await layer.delete_user("alice")
    with lost_answers():
        report = await import_user(layer.database, layer.blobs, tmp_path / "alice.zip", as_user="bob")
    assert (report.counts["prompts"], report.left_out_prompts) == (1, 1)
    with acting_as("bob"):
        long, short = await layer.list_prompts()
    assert (long.name, long.text, long.owner, short) == ("long", "Be long.", "bob", kept)
