"""The system records logins; users list and end their own."""

from dataclasses import replace

import pytest
from sqlalchemy import event, func, select

import datalayer
from datalayer import Login
from datalayer.accounts.logins import MOST_LOGINS
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.schema.chat import logins
from tests.support.records import new_id, user_id


def login(number: int = 0, *, hours_ago: float = 1.0, hours_left: float = 24.0, agent: str | None = "Browser") -> Login:
    return Login(f"{number:064x}", utc_in(-hours_ago * 3_600), utc_in(hours_left * 3_600), agent)


async def count(layer: ChainlitLayer) -> int:
    async with layer.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(logins))).scalar_one())


@pytest.fixture
async def alice(layer: ChainlitLayer) -> str:
    return await user_id(layer, "alice")


async def test_one_query_finds_account_and_login(layer: ChainlitLayer, alice: str) -> None:
    await user_id(layer, "bob")
    await layer.see_login(alice, login(1, agent="x" * 400 + "\x00"))
    expected = await layer.get_account("alice")
    asked: list[str] = []
    event.listen(layer.database.engine.sync_engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    account, found = await layer.get_account_and_login("alice", login(1).token_hash)
    assert len([statement for statement in asked if statement != "BEGIN"]) == 1
    assert account == expected
    assert found is not None
    assert (found.agent, found.ended_at) == ("x" * 300, None)
    assert found.seen_at is not None
    assert found.started_at < found.seen_at < found.expires_at
    account, unseen = await layer.get_account_and_login("alice", login(2).token_hash)
    assert account is not None
    assert unseen is None
    bob, anothers = await layer.get_account_and_login("bob", login(1).token_hash)
    assert bob is not None
    assert anothers is None
    assert await layer.get_account_and_login("nobody", login(1).token_hash) == (None, None)


async def test_a_login_seen_again_has_one_row(layer: ChainlitLayer, alice: str) -> None:
    await layer.see_login(alice, login(1))
    with datalayer.acting_as("alice"):
        (first,) = await layer.list_logins()
    await layer.see_login(alice, replace(login(1), agent="Another"))
    with datalayer.acting_as("alice"):
        (again,) = await layer.list_logins()
    assert first.seen_at is not None
    assert again.seen_at is not None
    assert again == replace(first, seen_at=again.seen_at)
    assert again.seen_at > first.seen_at


async def test_users_list_their_own_logins_newest_first(layer: ChainlitLayer, alice: str) -> None:
    bob = await user_id(layer, "bob")
    await layer.see_login(bob, login(999))
    for number in range(MOST_LOGINS + 1):
        await layer.see_login(alice, login(number, hours_ago=number))
    with datalayer.acting_as("alice"):
        found = await layer.list_logins()
    assert [one.token_hash for one in found] == [login(number).token_hash for number in range(MOST_LOGINS)]
    for other in (None, datalayer.SYSTEM, "nobody"):
        with datalayer.acting_as(other):
            assert await layer.list_logins() == []


async def test_only_its_user_ends_a_login(layer: ChainlitLayer, alice: str) -> None:
    await user_id(layer, "bob")
    for number in (1, 2):
        await layer.see_login(alice, login(number))
    with datalayer.acting_as("alice"):
        chosen = (await layer.list_logins())[0]
    assert chosen.id is not None
    for other, error in (
        (None, datalayer.Forbidden),
        (datalayer.SYSTEM, datalayer.Forbidden),
        ("bob", datalayer.NotFound),
    ):
        with datalayer.acting_as(other), pytest.raises(error):
            await layer.end_login(chosen.id)
    with datalayer.acting_as("alice"):
        for unknown in (new_id(), "nonsense"):
            with pytest.raises(datalayer.NotFound):
                await layer.end_login(unknown)
        assert len(await layer.list_logins()) == 2
        await layer.end_login(chosen.id)
        assert [one.token_hash for one in await layer.list_logins()] != [chosen.token_hash]
    _, found = await layer.get_account_and_login("alice", chosen.token_hash)
    assert found is not None
    assert found.ended_at is not None
    with datalayer.acting_as("alice"):
        await layer.end_login(chosen.id)
    await layer.see_login(alice, chosen)
    _, again = await layer.get_account_and_login("alice", chosen.token_hash)
    assert again is not None
    assert again.ended_at == found.ended_at, "an ended login stays ended"


async def test_ending_all_logins_includes_unrecorded_ones(layer: ChainlitLayer, alice: str) -> None:
    bob = await user_id(layer, "bob")
    for number, owner in enumerate((alice, alice, bob)):
        await layer.see_login(owner, login(number))
    before = utc_now()
    with datalayer.acting_as("alice"):
        await layer.end_logins()
        assert await layer.list_logins() == []
    account = await layer.get_account("alice")
    assert account is not None
    assert account.logins_ended_at is not None
    assert account.logins_ended_at > before
    with datalayer.acting_as("bob"):
        assert len(await layer.list_logins()) == 1
    other = await layer.get_account("bob")
    assert other is not None
    assert other.logins_ended_at is None
    for nobody, error in (
        (None, datalayer.Forbidden),
        (datalayer.SYSTEM, datalayer.Forbidden),
        ("x", datalayer.NotFound),
    ):
        with datalayer.acting_as(nobody), pytest.raises(error):
            await layer.end_logins()


async def test_a_new_password_ends_every_login(layer: ChainlitLayer, alice: str) -> None:
    await layer.see_login(alice, login(1))
    await layer.set_password("alice", "no real hash")
    with datalayer.acting_as("alice"):
        assert await layer.list_logins() == []


async def test_logging_out_ends_an_unrecorded_login(layer: ChainlitLayer, alice: str) -> None:
    await layer.see_login(alice, login(1))
    for number in (1, 2):
        await layer.log_out(alice, login(number))
        await layer.see_login(alice, login(number))
        _, found = await layer.get_account_and_login("alice", login(number).token_hash)
        assert found is not None
        assert found.ended_at is not None


async def test_expired_logins_are_deleted(layer: ChainlitLayer, alice: str) -> None:
    bob = await user_id(layer, "bob")
    for owner, number in ((alice, 1), (bob, 2)):
        await layer.see_login(owner, login(number, hours_left=-1))
    with datalayer.acting_as("alice"):
        assert await layer.list_logins() == []
    assert await count(layer) == 2
    await layer.see_login(alice, login(3))
    assert await count(layer) == 2, "of the other nobody was seen"


async def test_only_the_system_records_logins(layer: ChainlitLayer, alice: str) -> None:
    for actor in ("alice", None):
        with datalayer.acting_as(actor):
            for record in (layer.see_login, layer.log_out):
                with pytest.raises(datalayer.Forbidden):
                    await record(alice, login(1))
    with pytest.raises(datalayer.InvalidRecord):
        await layer.see_login(alice, replace(login(1), started_at="yesterday"))
    with pytest.raises(datalayer.InvalidRecord):
        await layer.see_login(new_id(), login(1))
    assert await count(layer) == 0


async def test_deleting_a_user_deletes_their_logins(layer: ChainlitLayer, alice: str) -> None:
    bob = await user_id(layer, "bob")
    for number, owner in enumerate((alice, alice, bob)):
        await layer.see_login(owner, login(number))
    receipt = await layer.delete_user("alice")
    assert receipt.rows["logins"] == len(receipt.row_ids["logins"]) == 2
    assert await count(layer) == 1
