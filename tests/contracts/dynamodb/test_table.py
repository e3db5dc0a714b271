"""The table: created, recognised, and read in whole whatever DynamoDB gives at a time."""

from typing import Any

import pytest

from datalayer.dynamodb import tables
from datalayer.dynamodb.actions import update
from datalayer.dynamodb.client import Table, place_of
from datalayer.dynamodb.keys import key, step_key
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import ConfigurationError, ConnectionLost, InvalidRecord, SchemaError, StorageUnavailable
from tests.support.faulty_dynamodb import faulty

ATTRIBUTES = tables.DESCRIPTION["AttributeDefinitions"]


async def test_a_missing_table_is_created_once(empty_database_url: str) -> None:
    table = Table(place_of(empty_database_url))
    assert not await tables.exists(table)
    with pytest.raises(SchemaError, match="does not exist"):
        await table.get(key("a", "b"))
    assert await tables.create(table)
    assert not await tables.create(table)
    expiry = await table.call("describe_time_to_live")
    assert expiry["TimeToLiveDescription"]["AttributeName"] == tables.EXPIRES
    await table.close()


async def test_items_expire_in_a_table_that_is_there(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    """Whether somebody else created it, or the attempt of the first start was refused."""
    with faulty(table) as client:
        client.refuse("update_time_to_live", "AccessDeniedException")
        assert not await tables.create(table)
        assert "marks of deleted threads stay" in caplog.text
        assert not await tables.create(table)
        assert not await tables.create(table)
        assert client.calls["update_time_to_live"] == 2
    expiry = await table.call("describe_time_to_live")
    assert expiry["TimeToLiveDescription"]["AttributeName"] == tables.EXPIRES


async def test_a_read_whose_connection_was_lost_is_repeated_once(table: Table) -> None:
    kept = step_key("t", "1")
    with faulty(table) as client:
        client.refuse("update_item", "ServiceUnavailable", times=2)
        await table.transact([update(kept, sets={"output": {"S": "stored"}})])
        for name in ("get_item", "query", "batch_get_item"):
            client.lose_answers(name)
        assert (await table.get(kept) or {})["output"] == {"S": "stored"}
        assert len(await table.query("THREAD#t")) == len(await table.get_many([kept])) == 1
        client.lose_answers("get_item", times=2)
        with pytest.raises(ConnectionLost):
            await table.get(kept)


async def test_a_table_with_other_keys_is_refused(empty_database_url: str) -> None:
    table = Table(place_of(empty_database_url))
    keys = {"AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}]}
    keys["KeySchema"] = [{"AttributeName": "PK", "KeyType": "HASH"}]
    kinds = [{**one, "AttributeType": "S" if one["AttributeName"] == "PK" else "N"} for one in ATTRIBUTES]
    for other in (keys, {**tables.DESCRIPTION, "AttributeDefinitions": kinds}):
        await table.call("create_table", **{"BillingMode": "PAY_PER_REQUEST", **other})
        with pytest.raises(SchemaError, match="not one of Chainlit's"):
            await tables.create(table)
        await table.call("delete_table")
    await table.close()


async def test_a_table_that_somebody_else_is_creating_is_waited_for(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one whose index is being built, or that is being deleted, is named."""
    state, waited = {"TableStatus": "CREATING"}, []
    described = await table.call("describe_table")
    call = table.call

    async def with_state(name: str, **arguments: Any) -> dict[str, Any]:
        if name != "describe_table":
            return await call(name, **arguments)
        (index,) = described["Table"]["GlobalSecondaryIndexes"]
        return {"Table": {**described["Table"], **state, "GlobalSecondaryIndexes": [{**index, **state}]}}

    async def wait() -> None:
        waited.append(dict(state))

    monkeypatch.setattr(table, "call", with_state)
    monkeypatch.setattr(table, "wait_until_active", wait)
    assert not await tables.create(table)
    assert waited == [{"TableStatus": "CREATING"}]
    for now, reason in (({"TableStatus": "DELETING"}, "is being deleted"), ({"IndexStatus": "CREATING"}, "the index")):
        state.clear()
        state.update(now)
        with pytest.raises(StorageUnavailable, match=reason):
            await tables.create(table)
    assert len(waited) == 1


async def test_a_refusal_says_what_to_do(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {
        "AccessDeniedException": "may not call get_item .* permissions",
        "ExpiredTokenException": "credentials .* have not expired",
        "UnrecognizedClientException": "does not accept the credentials",
        "InvalidSignatureException": "AWS_SECRET_ACCESS_KEY and this machine's clock",
        "ResourceInUseException": "is being created, changed or deleted",
        "OfTomorrowException": "OfTomorrowException",
    }
    with faulty(table) as client:
        for code, reason in reasons.items():
            client.refuse("get_item", code)
            with pytest.raises(StorageUnavailable, match=reason):
                await table.get(step_key("t", "1"))
        client.refuse("get_item", "ResourceNotFoundException")
        with pytest.raises(SchemaError, match=f"'{table.place.table}' does not exist in this account and region"):
            await table.get(step_key("t", "1"))
    monkeypatch.setenv("AWS_PROFILE", "unknown")
    other = Table(table.place)
    with pytest.raises(ConfigurationError, match="ProfileNotFound"):
        await other.get(step_key("t", "1"))


async def test_more_than_a_megabyte_is_read_in_pages(table: Table) -> None:
    for number in range(12):
        await table.transact([update(step_key("t", f"{number:02}"), sets={"output": {"S": "x" * 100_000}})])
    assert [one["SK"]["S"] for one in await table.query("THREAD#t")] == [f"STEP#{number:02}" for number in range(12)]


async def test_a_transaction_stores_all_or_nothing(table: Table) -> None:
    first, second = step_key("t", "1"), step_key("t", "2")
    await table.transact([update(first, sets={"output": {"S": "stored"}})])
    actions = [
        update(second, sets={"output": {"S": "new"}}),
        update(first, sets={"output": {"S": "changed"}}, condition="attribute_not_exists(PK)"),
    ]
    with pytest.raises(ConditionFailed) as failed:
        await table.transact(actions)
    assert failed.value.at == {1}
    with pytest.raises(ConditionFailed):
        await table.transact(actions[1:])
    found = await table.get_many([first, second])
    assert [one["output"]["S"] for one in found] == ["stored"]


async def test_a_record_that_is_too_large_is_refused(table: Table) -> None:
    large = update(step_key("t", "1"), sets={"output": {"S": "x" * 410_000}})
    for actions in ([large], [large, update(step_key("t", "2"), sets={"output": {"S": "x"}})]):
        with pytest.raises(InvalidRecord, match="at most 400 KB"):
            await table.transact(actions)
    with pytest.raises(InvalidRecord, match="400 keys"):
        update(step_key("t", "1"), sets={f"key{number}": {"S": "x"} for number in range(400)})


async def test_a_server_that_is_not_there_is_unavailable(dynamodb_options: str) -> None:
    table = Table(place_of("dynamodb://any?region=eu-central-1&endpoint_url=http://127.0.0.1:9"))
    with pytest.raises(ConnectionLost):
        await table.get(key("a", "b"))
    await table.close()


@pytest.mark.parametrize(
    "url",
    [
        *("dynamodb://", "dynamodb://a/b", "dynamodb://key:secret@table?region=x", "dynamodb://table?regon=x"),
        *("sqlite:///x", "dynamodb://table?region", "dynamodb://table#x", "dynamodb://table?region=", "dynamodb://ab"),
        *("dynamodb://table:8000?region=x", "dynamodb://t%20t?region=x", "dynamodb://table?region=x&region=y"),
        *("dynamodb://table?endpoint_url=localhost:8000", "dynamodb://table?region=x&endpoint_url=ftp://host"),
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="dynamodb://table"):
        place_of(url)
