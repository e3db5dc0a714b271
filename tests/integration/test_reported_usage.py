"""What servers report of their usage, as it is stored, priced and limited; over HTTP, on both engines."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, LlmCall, Price
from datalayer.usage.verify import token_problem
from tests.integration.test_metering import QUESTION, ask, limited, rows
from tests.support.model_server import ModelServer, count_tokens, pieces
from tests.support.odd_streams import BEGINNING, ENDS, USAGES
from tests.support.records import new_id
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.messages import user_message
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.model import ModelError, ModelRequest
from threadkeeper.chat.providers import create_model

# A deployment whose name is no model of Azure, and the model that answers there.
DEPLOYMENT, BEHIND = "first:azure:gpt-4o-mini", "gpt-4o-mini"


@pytest.fixture
async def model(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[MeteredModel]:
    metered = MeteredModel(create_model(base_url=model_server.base_url, timeout_seconds=60, max_retries=0), layer)
    yield metered
    await metered.close()


@pytest.fixture
async def azure(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[MeteredModel]:
    metered = azure_model(layer, model_server)
    yield metered
    await metered.close()


def azure_model(layer: ChainlitLayer, model_server: ModelServer) -> MeteredModel:
    return MeteredModel(create_model(azure_endpoint=model_server.root, azure_api_key="key", max_retries=0), layer)


async def test_thought_beside_the_output_is_billed_as_output(layer: ChainlitLayer, model: MeteredModel) -> None:
    await layer.add_price(Price(new_id(), ".*", "2020-01-01T00:00:00Z", input=Decimal(3), output=Decimal(15)))
    answer = await ask(model, "usage:thought-apart")
    (row,) = await rows(layer, model)
    prompt, output = count_tokens(QUESTION), len(pieces(answer)) + 94  # type: ignore[arg-type]
    assert (row.prompt_tokens, row.completion_tokens, row.reasoning_tokens) == (prompt, output, 94)
    assert row.total_cost == (Decimal(3) * prompt + Decimal(15) * output) / 1_000_000
    assert not row.is_estimated
    assert (await layer.verify_usage()).left == 0


async def test_no_report_makes_a_row_that_contradicts_itself(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer, subtests: pytest.Subtests
) -> None:
    """The sum of the reports equals the server's own ledger; everything else is estimated and marked."""
    for name in USAGES:
        await ask(model, f"usage:{name}")
    found = await rows(layer, model)
    for row, billed in zip(found, model_server.ledger, strict=True):
        with subtests.test(row.model):
            shape = USAGES[row.model.removeprefix("usage:")]
            assert token_problem(row) is None
            assert row.is_estimated is not shape.is_report
            assert row.prompt_tokens
            assert row.completion_tokens
            if shape.is_report:
                assert row.prompt_tokens == billed.prompt_tokens
                assert row.completion_tokens == billed.completion_tokens
    assert (await layer.verify_usage()).left == 0
    totals = await layer.usage_totals(CallFilter())
    assert totals.estimated == sum(not shape.is_report for shape in USAGES.values())


async def test_what_a_server_reports_is_kept_where_the_rest_is_estimated(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    answer = await ask(model, "usage:total-only")
    await ask(model, "usage:zero-completion")
    total_only, zero_completion = await rows(layer, model)
    billed = model_server.ledger[0]
    counter = counter_for(total_only.model)
    assert total_only.prompt_tokens == await message_tokens(QUESTION, counter)
    total = (total_only.prompt_tokens or 0) + (total_only.completion_tokens or 0)
    assert total == billed.prompt_tokens + billed.completion_tokens
    assert zero_completion.prompt_tokens == model_server.ledger[1].prompt_tokens
    assert zero_completion.completion_tokens == await counter.count(answer)


@pytest.mark.parametrize("name", ["object-error", "event-error-words", "reason-error", "comment-words", "closed"])
async def test_a_cut_answer_has_its_error_and_estimated_tokens(
    layer: ChainlitLayer, model: MeteredModel, name: str
) -> None:
    await layer.add_price(Price(new_id(), ".*", "2020-01-01T00:00:00Z", input=Decimal(3), output=Decimal(15)))
    with pytest.raises(ModelError):
        await ask(model, f"ends:{name}")
    (row,) = await rows(layer, model)
    assert (row.status_code, row.error_kind, row.is_estimated, row.has_failed) == (200, ENDS[name].kind, True, True)
    assert (ENDS[name].says or "-") in (row.error_message or "")
    assert row.response_characters == len("".join(BEGINNING))
    assert row.completion_tokens
    assert row.total_cost


async def test_a_body_with_an_error_is_a_row_with_the_servers_words(layer: ChainlitLayer, model: MeteredModel) -> None:
    for name in ("json-error", "json-detail", "html-as-stream"):
        with pytest.raises(ModelError):
            await ask(model, f"body:{name}")
    for row in await rows(layer, model):
        assert (row.status_code, row.error_kind, row.prompt_tokens) == (200, "server", None)
        assert "the GPU is on fire" in (row.error_message or "")


# Deployments with names of their own


async def test_the_first_name_that_is_not_empty_answered(layer: ChainlitLayer, azure: MeteredModel) -> None:
    await ask(azure, DEPLOYMENT)
    (row,) = await rows(layer, azure)
    assert (row.model, row.deployment, row.answered_by) == (DEPLOYMENT, DEPLOYMENT, BEHIND)
    assert row.total_cost is not None


async def test_a_stopped_answer_of_a_deployment_has_a_cost(layer: ChainlitLayer, azure: MeteredModel) -> None:
    async with aclosing(azure.stream(ModelRequest(QUESTION, DEPLOYMENT))) as events:
        await anext(events)
    (row,) = await rows(layer, azure)
    assert (row.finish_reason, row.answered_by, row.is_estimated) == ("stopped", BEHIND, True)
    assert row.total_cost is not None


async def test_what_answered_before_is_what_a_deployment_costs(
    layer: ChainlitLayer, database_url: str, azure: MeteredModel, model_server: ModelServer
) -> None:
    purpose = await limited(layer, "0.5", "dollars")
    with pytest.raises(ModelError, match="unpriced"):
        await ask(azure, DEPLOYMENT, purpose=purpose)
    assert model_server.requests == []
    # Without a user, no limit applies.
    await ask(azure, DEPLOYMENT)
    await rows(layer, azure)
    assert await ask(azure, DEPLOYMENT, purpose=purpose)

    # After a restart, or on another replica.
    other = datalayer.create_data_layer(database_url)
    replica = azure_model(other, model_server)
    statements: list[str] = []
    for engine in (other.database.engine, other.database.writing_engine):
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert await ask(replica, DEPLOYMENT, purpose=purpose)
    assert await ask(replica, DEPLOYMENT, purpose=purpose)
    assert len([one for one in statements if '"answeredBy"' in one and one.startswith("SELECT")]) <= 1
    with pytest.raises(ModelError, match="unpriced"):
        await ask(replica, "first:azure", purpose=purpose)
    found = await rows(other, replica)
    assert {row.answered_by for row in found} == {BEHIND}
    assert all(row.total_cost for row in found)
    await replica.close()
    await other.close()


async def test_a_reservation_uses_the_price_of_the_model_that_last_answered(
    layer: ChainlitLayer, azure: MeteredModel, model_server: ModelServer
) -> None:
    """A deployment may have the name of one model and be another one."""
    await layer.record_call(row_of(model="gpt-4", answered_by="gpt-4o-mini"))
    purpose = await limited(layer, "0.1", "dollars")
    request = ModelRequest([user_message("word " * 9_000, [])], "gpt-4", max_tokens=100, purpose=purpose)
    await azure.complete(request)
    await layer.record_call(row_of(model="gpt-4-32k", answered_by=None))
    with pytest.raises(ModelError, match="over_limit"):
        await azure.complete(ModelRequest(request.messages, "gpt-4-32k", max_tokens=100, purpose=purpose))
    assert len(model_server.requests) == 1


def row_of(**fields: Any) -> LlmCall:
    return LlmCall(new_id(), "chat", requested_at="2026-03-10T12:00:00Z", provider="azure", **fields)
