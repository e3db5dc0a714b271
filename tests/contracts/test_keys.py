"""API keys: made once, found by their secret, revoked; rates and budgets; who may do what."""

import asyncio
import dataclasses
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

import datalayer
from datalayer import (
    CallDemand,
    CallFilter,
    Forbidden,
    InvalidRecord,
    Limit,
    LimitReached,
    NotFound,
    Project,
    acting_as,
)
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.keys import rows
from datalayer.records.keys import ApiKey, ApiReply
from datalayer.schema.keys import api_key_rates, api_keys, api_replies
from datalayer.schema.review import audit_entries
from tests.support.calls import call
from tests.support.counted import counted
from tests.support.patience import until
from tests.support.records import new_id, thread, user_id


@pytest.fixture
async def alice(layer: ChainlitLayer) -> str:
    return await user_id(layer, "alice")


async def made(layer: ChainlitLayer, identifier: str = "alice", **fields: Any) -> tuple[ApiKey, str]:
    with acting_as(identifier):
        return await layer.create_api_key(**{"name": "a program", "scopes": ["threads:read"], **fields})


async def test_a_key_that_gets_a_project_while_it_is_deleted_is_revoked_too(layer: ChainlitLayer, alice: str) -> None:
    project = await layer.put_project(Project(new_id(), "Research", "research", owner="alice"))
    key, _ = await made(layer)
    async with layer.database.write() as connection:
        await connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(projectId=project.id))
        deletion = asyncio.create_task(layer.delete_project("research"))
        if layer.database.dialect.name == "postgresql":
            waits = text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )

            async def is_waiting() -> bool:
                # Within a transaction, the view stays as it was first read.
                async with layer.database.read() as other:
                    return bool((await other.execute(waits)).scalar())

            await until(is_waiting)
    assert (await deletion).keys == (key.id,)


async def test_a_key_is_found_by_its_secret_which_is_stored_nowhere(layer: ChainlitLayer, alice: str) -> None:
    await layer.put_project(Project(new_id(), "Research", "research", owner="alice"))
    key, secret = await made(
        layer,
        name=" Laptop \x00",
        scopes=["gateway", "threads:read"],
        project="research",
        models=["small", "small", "assistant:travel"],
        requests_per_minute=60,
        tokens_per_minute=1_000,
        expires_at="2200-01-01",
    )
    assert re.fullmatch("tk_[0-9A-Za-z]{40}", secret)
    assert (key.prefix, key.owner, key.user_id, key.project) == (secret[:10], "alice", alice, "research")
    assert (key.scopes, key.models) == (("threads:read", "gateway"), ("small", "assistant:travel"))
    assert (key.name, key.expires_at, key.role) == ("Laptop \ufffd", "2200-01-01T00:00:00.000000Z", "user")
    assert await layer.find_api_key(secret) == key
    with acting_as("alice"):
        assert await layer.list_api_keys() == [key]
    async with layer.database.read() as connection:
        stored = (await connection.execute(select(api_keys))).mappings().one()
    assert secret[10:] not in str(dict(stored))
    for other in (
        secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        secret[:-1],
        "",
        "tk_",
        secret + "\n",
        "x" * 9_999,
    ):
        assert await layer.find_api_key(other) is None


async def test_a_key_is_found_in_one_statement(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(database_url, tmp_path, monkeypatch) as counter:
        await user_id(counter.layer, "alice")
        key, secret = await made(counter.layer)
        await counter.layer.find_api_key(secret)
        counter.reset()
        assert await counter.layer.find_api_key(secret) == key
        assert counter.statements == 1


async def test_a_key_that_is_revoked_or_expired_or_of_a_disabled_user_is_not_found(layer: ChainlitLayer) -> None:
    for name in ("alice", "bob", "carol"):
        await layer.add_account(name, "hash")
    revoked, expired, disabled = [await made(layer, name) for name in ("alice", "bob", "carol")]
    with acting_as("alice"):
        gone = await layer.revoke_api_key(revoked[0].id)
        assert gone.revoked_at is not None
        assert await layer.revoke_api_key(revoked[0].id) == gone, "revoked once"
    async with layer.database.write() as connection:
        of_bob = update(api_keys).where(api_keys.c.id == expired[0].id)
        await connection.execute(of_bob.values(expiresAt=utc_in(-1)))
    await layer.set_disabled("carol", True)
    assert [await layer.find_api_key(secret) for _, secret in (revoked, expired, disabled)] == [None] * 3
    await layer.set_disabled("carol", False)
    assert await layer.find_api_key(disabled[1]) == disabled[0]
    assert {key.owner for key in await layer.list_api_keys()} == {"alice", "bob", "carol"}
    assert [key.id for key in await layer.list_api_keys("ALICE")] == [revoked[0].id]
    assert await layer.list_api_keys("nobody") == []


async def test_the_role_of_a_key_is_that_of_its_user_now(layer: ChainlitLayer) -> None:
    await layer.add_account("ada", "hash", "admin")
    await layer.add_account("eve", "hash", "admin")
    key, secret = await made(layer, "ada", scopes=["admin"])
    assert key.role == "admin"
    await layer.set_role("ada", "user")
    found = await layer.find_api_key(secret)
    assert found == dataclasses.replace(key, role="user")


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"name": "  "}, "name of 1 to 100"),
    ({"name": "x" * 101}, "name of 1 to 100"),
    ({"name": "two\nlines"}, "line breaks"),
    ({"scopes": []}, "needs a scope"),
    ({"scopes": ["threads:read", "everything"]}, "'everything' is unknown"),
    ({"scopes": ["admin"]}, "alice is none"),
    ({"models": [""]}, "at most 100 models"),
    ({"models": [str(number) for number in range(101)]}, "at most 100 models"),
    ({"requests_per_minute": 0}, "requests a minute"),
    ({"tokens_per_minute": 10**10}, "tokens a minute"),
    ({"expires_at": "2001-01-01"}, "in the future"),
    ({"expires_at": "tomorrow"}, "expires_at of a key"),
]


async def test_a_key_with_an_invalid_value_is_refused(
    layer: ChainlitLayer, alice: str, subtests: pytest.Subtests
) -> None:
    for fields, sentence in INVALID:
        with subtests.test(sentence=sentence, fields=str(fields)[:80]):
            with pytest.raises(InvalidRecord, match=sentence):
                await made(layer, **fields)
            assert await layer.list_api_keys() == []


async def test_a_user_has_a_bounded_number_of_keys(
    layer: ChainlitLayer, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_KEYS", 2)
    first, _ = await made(layer)
    await made(layer)
    with pytest.raises(InvalidRecord, match="has 2 keys: revoke one"):
        await made(layer)
    await layer.revoke_api_key(first.id)
    await made(layer)


async def test_users_make_see_and_revoke_their_own_keys_alone(layer: ChainlitLayer, alice: str) -> None:
    await user_id(layer, "bob")
    await layer.put_project(Project(new_id(), "Alice's", "alices", owner="alice"))
    key, secret = await made(layer, project="alices")
    with acting_as("bob"):
        assert await layer.list_api_keys() == await layer.list_api_keys("alice") == []
        with pytest.raises(NotFound):
            await layer.revoke_api_key(key.id)
        with pytest.raises(Forbidden, match="only for themselves"):
            await layer.create_api_key("mine", ["admin"], user="alice")
        with pytest.raises(Forbidden, match="belongs to someone else"):
            await layer.create_api_key("mine", ["gateway"], project="alices")
        for slug, named in (("none", "no project 'none'"), ("\x00", "no project '\ufffd'")):
            with pytest.raises(NotFound, match=named):
                await layer.create_api_key("mine", ["gateway"], project=slug)
    with acting_as(None):
        assert await layer.list_api_keys() == []
        with pytest.raises(Forbidden):
            await layer.create_api_key("mine", ["gateway"])
        with pytest.raises(NotFound):
            await layer.revoke_api_key(key.id)
    with pytest.raises(Forbidden):
        await layer.create_api_key("of nobody", ["gateway"])
    with pytest.raises(NotFound, match="no user 'nobody'"):
        await layer.create_api_key("of nobody", ["gateway"], user="nobody")
    with pytest.raises(InvalidRecord):
        await layer.revoke_api_key("no id")
    assert (await layer.find_api_key(secret)) == key
    by_operator, _ = await layer.create_api_key("for bob", ["gateway"], user="bob", project="alices")
    assert (by_operator.owner, by_operator.project) == ("bob", "alices")


@pytest.mark.parametrize("actor", ["alice", None])
async def test_only_the_system_finds_keys_and_counts_rates(layer: ChainlitLayer, alice: str, actor: str | None) -> None:
    key, secret = await made(layer)
    with acting_as(actor):
        with pytest.raises(Forbidden):
            await layer.find_api_key(secret)
        with pytest.raises(Forbidden):
            await layer.see_api_key(key.id)
        with pytest.raises(Forbidden):
            await layer.take_rate(key.id, "requests", 1, 1)


async def test_making_and_revoking_is_told_in_the_audit_and_is_no_look_at_a_thread(
    layer: ChainlitLayer, alice: str
) -> None:
    await layer.add_account("ada", "hash", "admin")
    key, secret = await made(layer)
    await layer.revoke_api_key(key.id)
    await layer.revoke_api_key(key.id)
    with acting_as("ada"):
        revoked, created = (await layer.list_audit()).entries
    assert [(one.action, one.actor, one.thread_id, one.owner_id) for one in (created, revoked)] == [
        ("create_key", "alice", None, alice),
        ("revoke_key", None, None, alice),
    ]
    assert created.details == {"key": key.id, "prefix": key.prefix, "scopes": ["threads:read"]}
    assert revoked.details == {"key": key.id, "prefix": key.prefix}
    with acting_as("alice"):
        assert not (await layer.who_looked()).entries
        assert not (await layer.who_looked_by_export()).looks
    async with layer.database.read() as connection:
        assert secret[10:] not in str((await connection.execute(select(audit_entries))).all())


async def test_the_audit_names_the_admin_for_whom_the_system_acts(layer: ChainlitLayer, alice: str) -> None:
    await layer.add_account("ada", "hash", "admin")
    key, _ = await layer.create_api_key("reports", ["threads:read"], user="alice", by="ada")
    await layer.revoke_api_key(key.id, by="ada")
    with acting_as("alice"):
        own, _ = await layer.create_api_key("own", ["threads:read"], by="ada")
    with acting_as("ada"):
        entries = (await layer.list_audit()).entries
    assert [one.actor for one in entries] == ["alice", "ada", "ada"], "a user acts in no other name"
    assert own.owner == "alice"


async def test_a_user_renames_a_key(layer: ChainlitLayer, alice: str) -> None:
    key, secret = await made(layer)
    with acting_as("alice"):
        renamed = await layer.rename_api_key(key.id, "  nightly  ")
        with pytest.raises(InvalidRecord, match="name"):
            await layer.rename_api_key(key.id, " ")
    assert renamed == dataclasses.replace(key, name="nightly")
    for actor in ("bob", None):
        with acting_as(actor), pytest.raises(NotFound):
            await layer.rename_api_key(key.id, "mine")
    found = await layer.find_api_key(secret)
    assert found is not None
    assert found.name == "nightly"
    await layer.revoke_api_key(key.id)
    with pytest.raises(NotFound):
        await layer.rename_api_key(key.id, "late")


async def test_the_last_use_is_stored_at_most_once_a_minute(layer: ChainlitLayer, alice: str) -> None:
    key, secret = await made(layer)
    for _ in range(2):
        await layer.see_api_key(key.id)
    seen = await layer.find_api_key(secret)
    assert seen is not None
    assert seen.last_used_at is not None
    earlier = utc_in(-61)
    async with layer.database.write() as connection:
        await connection.execute(update(api_keys).values(lastUsedAt=earlier))
    await layer.see_api_key(key.id)
    again = await layer.find_api_key(secret)
    assert again is not None
    assert again.last_used_at is not None
    assert again.last_used_at > seen.last_used_at
    await layer.see_api_key(key.id)
    assert await layer.find_api_key(secret) == again


async def at_rest(layer: ChainlitLayer, seconds: float) -> None:
    """Let so much time go by for all rates."""
    async with layer.database.write() as connection:
        moved = {"fullAt": api_key_rates.c.fullAt - seconds, "askedAt": api_key_rates.c.askedAt - seconds}
        await connection.execute(update(api_key_rates).values(moved))


async def test_a_rate_allows_so_many_a_minute_and_fills_evenly(layer: ChainlitLayer, alice: str) -> None:
    key, _ = await made(layer)
    taken = [await layer.take_rate(key.id, "requests", 1, 3) for _ in range(4)]
    assert [one.allowed for one in taken] == [True, True, True, False]
    # Time goes by between the statements, less than the twenty seconds of one request.
    assert [one.remaining for one in taken] == [2, 1, 0, 0]
    assert taken[0].retry_after == 0
    assert 0 < taken[3].retry_after <= 20.1
    assert 40 < taken[3].reset_after <= 60.1
    await at_rest(layer, 20)
    assert (await layer.take_rate(key.id, "requests", 1, 3)).allowed
    assert not (await layer.take_rate(key.id, "requests", 1, 3)).allowed
    assert (await layer.take_rate(key.id, "tokens", 1, 3)).allowed, "counted on its own"


async def test_an_amount_above_the_rate_is_allowed_at_rest_and_waited_off(layer: ChainlitLayer, alice: str) -> None:
    key, _ = await made(layer)
    large = await layer.take_rate(key.id, "tokens", 300, 100)
    assert (large.allowed, large.remaining) == (True, 0)
    assert 170 < large.reset_after <= 180.1, "the clock is read twice"
    refused = await layer.take_rate(key.id, "tokens", 1, 100)
    assert not refused.allowed
    assert 110 < refused.retry_after <= 121
    await at_rest(layer, 121)
    assert (await layer.take_rate(key.id, "tokens", 1, 100)).allowed
    assert not (await layer.take_rate(key.id, "tokens", 300, 100)).allowed, "only at rest"
    owed = await layer.take_rate(key.id, "tokens", 300, 100, is_owed=True)
    assert owed.allowed
    assert 230 < owed.reset_after <= 241


async def test_concurrent_requests_cannot_exceed_a_rate(layer: ChainlitLayer, alice: str, database_url: str) -> None:
    key, _ = await made(layer)
    other = datalayer.create_data_layer(database_url)
    taken = await asyncio.gather(*((layer, other)[at % 2].take_rate(key.id, "requests", 1, 10) for at in range(30)))
    await other.close()
    assert sum(one.allowed for one in taken) == 10


async def test_a_rate_of_an_unknown_key_or_of_an_invalid_amount_is_refused(layer: ChainlitLayer, alice: str) -> None:
    key, _ = await made(layer)
    with pytest.raises(InvalidRecord):
        await layer.take_rate(new_id(), "requests", 1, 1)
    for values in (("requests", -1, 1), ("requests", 1, 0), ("words", 1, 1)):
        with pytest.raises(InvalidRecord):
            await layer.take_rate(key.id, *values)


def spent(alice: str, key_id: str | None, tokens: int) -> datalayer.LlmCall:
    return call(
        user_id=alice, key_id=key_id, prompt_tokens=tokens, completion_tokens=0, requested_at=utc_now(), thread_id=None
    )


async def test_calls_of_a_key_are_summed_and_limited(layer: ChainlitLayer, alice: str) -> None:
    (one, _), (other, _) = await made(layer), await made(layer)
    for key_id, tokens in ((one.id, 60), (other.id, 500), (None, 7)):
        await layer.record_call(spent(alice, key_id, tokens))
    totals = await layer.usage_totals(CallFilter(key_ids=(one.id,)))
    assert (totals.calls, totals.prompt_tokens) == (1, 60)
    assert (await layer.usage_totals(CallFilter(key_ids=(new_id(),)))).calls == 0
    limit = await layer.put_limit(Limit(new_id(), "key", one.id, "day", "tokens", Decimal(100)))
    (standing,) = await layer.limit_standings(alice, None, one.id, zone="UTC")
    assert (standing.limit.id, standing.used) == (limit.id, Decimal(60))
    assert await layer.limit_standings(alice, None, other.id, zone="UTC") == []

    async def reserved(key_id: str | None) -> Any:
        wanted = CallDemand(new_id(), alice, None, 20, 16, 16, key_id=key_id)
        return await layer.reserve(wanted, zone="UTC", seconds=60)

    assert not isinstance(await reserved(one.id), LimitReached)
    assert isinstance(await reserved(one.id), LimitReached), "the reserved tokens of the first call count"
    for key_id in (other.id, None):
        assert not isinstance(await reserved(key_id), LimitReached)


async def test_keys_go_with_their_user_and_calls_lose_them(layer: ChainlitLayer, alice: str) -> None:
    key, secret = await made(layer)
    await layer.take_rate(key.id, "requests", 1, 10)
    await layer.put_limit(Limit(new_id(), "key", key.id, "day", "tokens", Decimal(100)))
    kept = spent(alice, key.id, 5)
    await layer.record_call(kept)
    receipt = await layer.delete_user("alice")
    assert (receipt.rows["api_keys"], receipt.rows["api_key_rates"], receipt.rows["usage_limits"]) == (1, 1, 1)
    assert receipt.row_ids["api_keys"] == (key.id,)
    assert await layer.find_api_key(secret) is None
    assert await layer.list_limits() == []
    found = await layer.get_call(kept.id)
    assert found is not None
    assert (found[0].call.user_id, found[0].call.key_id) == (None, None)
    late = spent(alice, key.id, 5)
    await layer.record_call(late)
    found = await layer.get_call(late.id)
    assert found is not None
    assert found[0].call.key_id is None, "a call that was in progress"


async def test_the_first_answer_to_a_request_is_kept_for_a_day(layer: ChainlitLayer, alice: str) -> None:
    (key, _), (other, _) = await made(layer), await made(layer)
    begun = await asyncio.gather(*(layer.begin_reply(key.id, "once", "digest") for _ in range(3)))
    assert sorted(one is None for one in begun) == [False, False, True]
    assert [one for one in begun if one is not None] == [ApiReply("digest")] * 2
    assert await layer.begin_reply(other.id, "once", "digest") is None, "each key has names of its own"
    thread_id = await thread(layer, alice)
    reply = ApiReply("digest", 201, {"location": "/x"}, "an answer \x00")
    await layer.end_reply(key.id, "once", ApiReply("another", 500))
    await layer.end_reply(key.id, "once", reply, thread_id)
    await layer.end_reply(key.id, "once", ApiReply("digest", 500))
    kept = ApiReply("digest", 201, {"location": "/x"}, "an answer \ufffd")
    assert await layer.begin_reply(key.id, "once", "another") == kept
    await layer.drop_reply(key.id, "once", "digest")
    assert await layer.begin_reply(key.id, "once", "digest") == kept, "only one that is not stored can be dropped"

    await layer.drop_reply(other.id, "once", "another")
    assert await layer.begin_reply(other.id, "once", "digest") == ApiReply("digest"), "of another request"
    await layer.drop_reply(other.id, "once", "digest")
    assert await layer.begin_reply(other.id, "once", "digest") is None, "forgotten"
    for seconds, is_begun in ((800, False), (1_000, True)):
        async with layer.database.write() as connection:
            await connection.execute(update(api_replies).values(createdAt=utc_in(-seconds)))
        assert (await layer.begin_reply(other.id, "once", "digest") is None) is is_begun, "its process has died"
    await layer.begin_reply(other.id, "never asked again", "digest")
    async with layer.database.write() as connection:
        await connection.execute(update(api_replies).values(createdAt=utc_in(-25 * 3_600)))
    assert await layer.begin_reply(key.id, "once", "digest") is None, "a day is over"
    async with layer.database.read() as connection:
        assert len((await connection.execute(select(api_replies.c.name))).all()) == 1, "those of all keys"
    await layer.drop_reply(key.id, "once", "digest")
    await layer.begin_reply(other.id, "once", "digest")
    # Its row was taken for that of a dead process meanwhile.
    await layer.end_reply(key.id, "once", reply, thread_id)
    assert await layer.begin_reply(key.id, "once", "digest") == kept
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert receipt.rows["api_replies"] == 1
    assert await layer.begin_reply(key.id, "once", "digest") is None
    await layer.end_reply(key.id, "once", reply, thread_id)
    assert await layer.begin_reply(key.id, "once", "digest") is None, "its thread was deleted meanwhile"
    await layer.begin_reply(key.id, "revoked", "digest")
    await layer.revoke_api_key(key.id)
    await layer.end_reply(key.id, "revoked", reply)
    assert (await layer.delete_user("alice")).rows["api_replies"] == 1, "those of the revoked key are deleted"
    with acting_as("alice"), pytest.raises(Forbidden):
        await layer.begin_reply(key.id, "once", "digest")
