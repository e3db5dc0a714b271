"""Users as admins see and change them: the list, invitations, the last admin, and the audit."""

import asyncio
import uuid
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from datalayer import SYSTEM, InvalidRecord, NotFound, Receipt, acting_as, create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.errors import Forbidden
from datalayer.history.users import admins
from datalayer.records.chat import Login
from datalayer.schema.chat import users
from datalayer.schema.people import invitations
from tests.support.calls import call
from tests.support.counted import counted
from tests.support.records import thread, user_id

SINCE = "2020-01-01T00:00:00.000000Z"


async def names(layer: ChainlitLayer, **asked: object) -> list[str]:
    found = await layer.page_of_users(cost_since=SINCE, **asked)  # type: ignore[arg-type]
    return [row.user.identifier for row in found.rows]


async def test_the_list_is_paged_and_searched_without_case(layer: ChainlitLayer) -> None:
    for name in ("Ada", "bob", "carol_1", "carolx1"):
        await layer.add_account(name, "hash")
    first = await layer.page_of_users(limit=3, cost_since=SINCE)
    assert first.next_cursor is not None
    then = await layer.page_of_users(limit=3, cursor=first.next_cursor, cost_since=SINCE)
    assert then.next_cursor is None
    assert len({row.user.identifier for row in (*first.rows, *then.rows)}) == 4
    assert await names(layer, words="ADA") == ["Ada"]
    assert await names(layer, words="carol_") == ["carol_1"], "an underscore is no wildcard"
    with pytest.raises(InvalidRecord):
        await names(layer, cursor="none")


async def test_the_list_shows_the_last_request_the_threads_and_the_cost(layer: ChainlitLayer) -> None:
    ada, bob = [await layer.add_account(name, "hash") for name in ("ada", "bob")]
    await layer.see_login(ada.id, Login("digest", utc_now(), utc_in(60)))
    await thread(layer, ada.id)
    for made in (call("2019-01-01T00:00:00Z", user_id=ada.id), call(utc_now(), user_id=ada.id)):
        await layer.record_call(made)
    found = await layer.page_of_users(cost_since=SINCE)
    first, second = found.rows
    assert first.seen_at is not None and first.has_password
    assert (first.threads, first.cost) == (1, made.total_cost)
    assert (second.user, second.seen_at, second.threads, second.cost) == (bob, None, 0, None)
    assert await layer.listed_user(ada.id, cost_since=SINCE) == first
    assert await layer.listed_user("none", cost_since=SINCE) is None


async def test_a_page_is_one_statement_however_many_users(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(database_url, tmp_path, monkeypatch) as counter:
        layer = counter.layer
        async with layer.database.write() as connection:
            rows = [{"id": str(uuid.uuid4()), "identifier": f"u{at:04}", "metadata": {}} for at in range(1_000)]
            await connection.execute(insert(users), rows)
        await layer.page_of_users(cost_since=SINCE)
        counter.reset()
        page = await layer.page_of_users(words="u0", limit=50, cost_since=SINCE)
        assert (len(page.rows), counter.statements) == (50, 1)


async def test_an_invitation_sets_the_password_once_and_ends_all_logins(layer: ChainlitLayer) -> None:
    user = await layer.add_account("ada", "unknown")
    await layer.see_login(user.id, Login("digest", utc_now(), utc_in(60)))
    _, replaced = await layer.invite("ada", seconds=60)
    made, secret = await layer.invite("ADA", seconds=60)
    assert (made.user_id, made.identifier) == (user.id, "ada")
    assert await layer.find_invitation(replaced) is None
    assert await layer.find_invitation(secret) == made
    (row,) = (await layer.page_of_users(cost_since=SINCE)).rows
    assert row.invited_until == made.expires_at
    tried = await asyncio.gather(
        *(layer.accept_invitation(secret, f"hash {at}") for at in (1, 2)), return_exceptions=True
    )
    assert sorted(map(type, tried), key=str) == sorted([type(made), NotFound], key=str), "one of the two is refused"
    account = await layer.get_account("ada")
    assert account is not None and account.password_hash == f"hash {tried.index(made) + 1}"
    with acting_as("ada"):
        assert await layer.list_logins() == []
    assert await layer.find_invitation(secret) is None


async def test_an_invitation_ends_with_its_time_with_a_new_password_and_with_the_account(layer: ChainlitLayer) -> None:
    user = await layer.add_account("ada", "unknown")
    _, secret = await layer.invite("ada", seconds=60)
    async with layer.database.write() as connection:
        await connection.execute(update(invitations).values(expiresAt=utc_in(-1)))
    assert await layer.find_invitation(secret) is None
    with pytest.raises(NotFound):
        await layer.accept_invitation(secret, "hash")
    (row,) = (await layer.page_of_users(cost_since=SINCE)).rows
    assert row.invited_until is None
    _, secret = await layer.invite("ada", seconds=60)
    await layer.set_disabled("ada", True)
    assert await layer.find_invitation(secret) is None
    await layer.set_disabled("ada", False)
    assert await layer.find_invitation(secret) is None, "whoever has the link was shut out"
    _, secret = await layer.invite("ada", seconds=60)
    await layer.set_password("ada", "another")
    assert await layer.find_invitation(secret) is None
    await layer.invite("ada", seconds=60)
    receipt = await layer.delete_user("ada")
    assert (receipt.id, receipt.rows["invitations"]) == (user.id, 1)
    with pytest.raises(NotFound):
        await layer.invite("ada", seconds=60)


async def test_the_only_admin_stays_one(layer: ChainlitLayer) -> None:
    await layer.add_account("ada", "hash", "admin")
    await layer.add_account("bob", "hash", "admin")
    # Two admins who remove each other at once do not leave none.
    done = await asyncio.gather(
        layer.set_role("ada", "user", by="bob"), layer.set_disabled("bob", True, by="ada"), return_exceptions=True
    )
    assert sum(isinstance(one, InvalidRecord) for one in done) == 1
    (left,) = await layer.admins()
    for refused in (
        layer.set_role(left.upper(), "user"),
        layer.set_disabled(left.upper(), True, by=left),
        layer.delete_user(left.upper(), by=left),
        layer.set_disabled(left.upper(), True, by=SYSTEM),
        layer.delete_user(left.upper(), by=SYSTEM),
    ):
        with pytest.raises(InvalidRecord, match=f"{left.upper()!r}, the only admin|{left!r}, the only admin"):
            await refused
    assert await layer.admins() == [left]


async def test_of_two_admins_who_delete_themselves_at_once_one_stays(layer: ChainlitLayer, database_url: str) -> None:
    second = create_data_layer(database_url)

    async def leave(which: ChainlitLayer, name: str) -> Receipt:
        with acting_as(name):
            return await which.delete_user(name)

    try:
        for name in ("ada", "bob"):
            await layer.add_account(name, "hash", "admin")
        done = await asyncio.gather(leave(layer, "ada"), leave(second, "bob"), return_exceptions=True)
        assert [type(one) for one in done if isinstance(one, Exception)] == [InvalidRecord], done
        assert len(await layer.admins()) == 1
        # While the admins are held, what names them is stored.
        if layer.database.dialect.name == "postgresql":
            (left,) = await layer.admins()
            left_id = await user_id(layer, left)
            async with layer.database.write() as connection:
                assert await admins(connection, lock=True) == [left]
                async with asyncio.timeout(20):
                    await thread(second, left_id)
    finally:
        await second.close()


async def test_acts_of_an_admin_leave_rows_in_the_audit_that_owners_do_not_see_as_looks(layer: ChainlitLayer) -> None:
    await layer.add_account("ada", "hash", "admin")
    bob = await layer.add_account("bob", "hash", by="ada")
    await layer.invite("bob", seconds=60, by="ada")
    await layer.set_role("bob", "reviewer", by="ada")
    await layer.set_disabled("bob", True, by="ada")
    await layer.set_disabled("bob", False, by="ada")
    await layer.set_password("bob", "hash", by="ada")
    await layer.end_logins_of_user("bob", by="ada")
    await layer.set_password("bob", "his own")
    with acting_as("bob"):
        assert (await layer.who_looked()).entries == ()
    receipt = await layer.delete_user("bob", by="ada")
    assert receipt.deleted_by == "ada"
    rows = (await layer.list_audit()).entries[::-1]
    assert [one.action for one in rows] == [
        *("add_user", "invite_user", "change_role", "disable_user", "enable_user"),
        *("change_password", "end_logins", "delete_user"),
    ]
    assert {(one.actor, one.owner_id, one.thread_id) for one in rows} == {("ada", bob.id, None)}
    assert rows[2].details == {"role": "reviewer"}


async def test_only_the_system_sees_and_invites_users(layer: ChainlitLayer) -> None:
    await layer.add_account("ada", "hash", "admin")
    for refused in (
        lambda: layer.page_of_users(cost_since=SINCE),
        lambda: layer.listed_user("", cost_since=SINCE),
        lambda: layer.invite("ada", seconds=60),
        lambda: layer.find_invitation("x"),
        lambda: layer.accept_invitation("x", "hash"),
        lambda: layer.end_logins_of_user("ada"),
    ):
        for actor in ("ada", None):
            with acting_as(actor), pytest.raises(Forbidden):
                await refused()
