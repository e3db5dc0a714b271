"""Every model call is a row, whatever its result; over HTTP, on both engines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, select

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import CallFilter, Limit, LimitStanding, LlmCall, LlmCallPayload, Price
from datalayer.schema.usage import usage_reservations
from tests.support.model_server import API_KEY, ModelServer, count_tokens, pieces
from tests.support.patience import until
from tests.support.records import new_id
from threadkeeper.chat.context import tokens
from threadkeeper.chat.context.tokens import counter_for, message_tokens
from threadkeeper.chat.messages import ChatMessage, picture_parts, user_message
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.model import Delta, ModelError, ModelRequest, Purpose, Thought
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.wording import explain, say_nearly_used
from threadkeeper.pricing.rates import costs_of

QUESTION: list[ChatMessage] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many rows does this make?"},
]


@pytest.fixture
async def model(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[MeteredModel]:
    inner = create_model(api_key=API_KEY, base_url=model_server.base_url, timeout_seconds=60, max_retries=2)
    metered = MeteredModel(inner, layer)
    yield metered
    await metered.close()


async def ask(model: MeteredModel, name: str, *, purpose: Purpose | None = None, **options: Any) -> str:
    request = ModelRequest(QUESTION, name, purpose=purpose or Purpose(), **options)
    async with aclosing(model.stream(request)) as events:
        return "".join([event.text async for event in events if isinstance(event, Delta)])


async def rows(layer: ChainlitLayer, model: MeteredModel) -> list[LlmCall]:
    """All rows, the oldest first. Waits until they are stored."""
    while model._keeper._keeping:
        await asyncio.wait(model._keeper._keeping)
    return [row.call for row in (await layer.list_calls(CallFilter(), descending=False)).rows]


async def payload_of(layer: ChainlitLayer, call: LlmCall) -> LlmCallPayload | None:
    found = await layer.get_call(call.id)
    assert found is not None
    return found[1]


async def test_an_answer_is_one_row_with_the_tokens_that_the_server_reports(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    recorded: list[LlmCall] = []
    answer = await ask(model, "echo", purpose=Purpose(tags=("a", "b"), on_call=recorded.append))
    (row,) = await rows(layer, model)
    assert (row.kind, row.model, row.answered_by, row.provider) == ("chat", "echo", "echo", "127.0.0.1")
    assert (row.attempt, row.status_code, row.error_kind, row.finish_reason) == (1, 200, None, "stop")
    assert (row.prompt_tokens, row.completion_tokens) == (count_tokens(QUESTION), len(pieces(answer)))  # type: ignore[arg-type]
    assert (row.cached_tokens, row.reasoning_tokens, row.is_estimated) == (0, 0, False)
    assert row.query_characters == sum(len(str(message["content"])) for message in QUESTION)
    assert row.response_characters == len(answer)
    assert row.is_streaming
    assert row.tags == ("a", "b")
    assert (row.library or "").startswith("openai 3.")
    assert row.operating_system
    assert row.seconds is not None
    assert row.first_token_seconds is not None
    assert 0 < row.first_token_seconds <= row.seconds
    assert row.tokens_per_second == pytest.approx((row.completion_tokens or 0) / row.seconds)
    assert row.requested_at < (row.responded_at or "")
    assert row.project_id == await layer.default_project()
    # There is no price for this server, so the cost is unknown, not 0.
    assert (row.input_cost, row.output_cost, row.total_cost, row.price) == (None, None, None, None)
    assert [call.id for call in recorded] == [row.id]


@pytest.mark.parametrize("streams", [True, False])
async def test_the_service_tier_that_answered_decides_the_price(
    layer: ChainlitLayer, model: MeteredModel, streams: bool
) -> None:
    """Without a price of this tier, the cost is unknown; an operator's own price holds for every tier, and says so."""
    await layer.add_price(Price(new_id(), "tier:flex", "2020-01-01T00:00:00Z", input=Decimal(3), output=Decimal(15)))
    for name in ("tier:priority", "tier:flex", "tier:default"):
        if streams:
            await ask(model, name)
        else:
            await model.complete(ModelRequest(QUESTION, name))
    priority, flex, default = await rows(layer, model)
    assert (priority.total_cost, priority.price) == (None, {"service_tier": "priority"})
    assert priority.prompt_tokens == flex.prompt_tokens == default.prompt_tokens
    assert flex.total_cost
    assert flex.price is not None
    assert (flex.price["service_tier"], flex.price["is_of_tier"]) == ("flex", False)
    assert (default.total_cost, default.price) == (None, None)


@pytest.mark.parametrize("shape", ["reasoning_content", "think", "closing"])
async def test_thought_is_counted_in_tokens_and_is_not_the_answer(
    layer: ChainlitLayer, model: MeteredModel, shape: str
) -> None:
    await ask(model, f"think:{shape}")
    (row,) = await rows(layer, model)
    answer = f"You said: {QUESTION[-1]['content']}"
    assert row.reasoning_tokens == len(pieces(f"Pondering {QUESTION[-1]['content']}"))
    assert row.response_characters == len(answer)
    payload = await payload_of(layer, row)
    assert payload is not None
    assert payload.response == answer


async def test_an_answer_that_is_stopped_within_its_thought_has_an_estimate(
    layer: ChainlitLayer, model: MeteredModel
) -> None:
    async with aclosing(model.stream(ModelRequest(QUESTION, "think:reasoning:0.05"))) as events:
        seen = [await anext(events) for _ in range(3)]
    assert all(isinstance(event, Thought) for event in seen)
    (row,) = await rows(layer, model)
    assert (row.finish_reason, row.is_estimated, row.response_characters) == ("stopped", True, 0)
    thought = "".join(one.text for one in seen if isinstance(one, Thought))
    assert row.completion_tokens == await counter_for("echo").count(thought)
    assert row.first_token_seconds is not None


async def test_each_attempt_of_a_retried_call_is_a_row(layer: ChainlitLayer, model: MeteredModel) -> None:
    await ask(model, "500:1")
    first, second = await rows(layer, model)
    assert (first.attempt, first.status_code, first.error_kind) == (1, 500, "server")
    assert "The server had an error" in (first.error_message or "")
    assert (first.prompt_tokens, first.completion_tokens, first.total_cost) == (None, None, None)
    assert (second.attempt, second.status_code, second.error_kind) == (2, 200, None)
    assert second.prompt_tokens
    assert first.has_failed and not second.has_failed
    assert await payload_of(layer, first) is None
    assert await payload_of(layer, second) is not None


async def test_a_retry_without_a_refused_parameter_is_a_row(layer: ChainlitLayer, model: MeteredModel) -> None:
    await ask(model, "refuse:temperature", temperature=0.5)
    await ask(model, "refuse:temperature", temperature=0.5)
    assert [(row.attempt, row.status_code, row.error_kind) for row in await rows(layer, model)] == [
        (1, 400, "refused"),
        (2, 200, None),
        (1, 200, None),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("401", "auth", 401),
        ("404", "not_found", 404),
        ("429", "rate_limit", 429),
        ("quota", "quota", 429),
        ("html", "server", 200),
    ],
)
async def test_a_failed_call_is_a_row_without_tokens_and_cost(
    layer: ChainlitLayer, model: MeteredModel, name: str, kind: str, status: int
) -> None:
    with pytest.raises(ModelError):
        await ask(model, name)
    (row,) = await rows(layer, model)
    assert (row.error_kind, row.status_code, row.prompt_tokens, row.total_cost) == (kind, status, None, None)
    assert API_KEY not in (row.error_message or "")


async def test_each_attempt_to_reach_an_unreachable_server_is_a_row(layer: ChainlitLayer) -> None:
    model = MeteredModel(create_model(base_url="http://127.0.0.1:9/v1", max_retries=1), layer)
    with pytest.raises(ModelError):
        await ask(model, "echo")
    found = await rows(layer, model)
    assert [(row.attempt, row.status_code, row.error_kind) for row in found] == [
        (1, None, "unreachable"),
        (2, None, "unreachable"),
    ]
    await model.close()


@pytest.mark.parametrize(
    ("name", "kind"), [("cut:3", "cut"), ("short:3", "cut"), ("error:3", "server"), ("hang:3", "timeout")]
)
async def test_the_tokens_of_an_interrupted_answer_are_estimated(
    layer: ChainlitLayer, model_server: ModelServer, name: str, kind: str
) -> None:
    seconds = 2 if kind == "timeout" else 60
    model = MeteredModel(create_model(base_url=model_server.base_url, timeout_seconds=seconds), layer)
    with pytest.raises(ModelError):
        await ask(model, name)
    (row,) = await rows(layer, model)
    await model.close()
    counter = counter_for(name)
    assert (row.error_kind, row.status_code, row.is_estimated) == (kind, 200, True)
    assert row.prompt_tokens == await message_tokens(QUESTION, counter)
    assert row.completion_tokens == await counter.count("word-1 word-2 word-3 ")


@pytest.mark.parametrize("name", ["no-usage", "odd-usage"])
async def test_tokens_are_estimated_if_the_server_reports_none(
    layer: ChainlitLayer, model: MeteredModel, name: str
) -> None:
    answer = await ask(model, name)
    (row,) = await rows(layer, model)
    counter = counter_for(name)
    assert (row.error_kind, row.finish_reason, row.is_estimated) == (None, "stop", True)
    counted = (await message_tokens(QUESTION, counter), await counter.count(answer))
    assert (row.prompt_tokens, row.completion_tokens) == counted


async def test_a_stopped_answer_is_not_a_failure_and_has_the_tokens_so_far(
    layer: ChainlitLayer, model: MeteredModel
) -> None:
    came: list[str] = []

    async def read() -> None:
        async with aclosing(model.stream(ModelRequest(QUESTION, "slow:500:0.01"))) as events:
            async for event in events:
                assert isinstance(event, Delta)
                came.append(event.text)

    task = asyncio.create_task(read())
    while len(came) < 3:
        await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    (row,) = await rows(layer, model)
    assert (row.error_kind, row.finish_reason, row.is_estimated, row.has_failed) == (None, "stopped", True, False)
    assert row.completion_tokens == await counter_for("slow").count("".join(came))


async def test_closing_the_stream_counts_as_stopping_the_answer(layer: ChainlitLayer, model: MeteredModel) -> None:
    async with aclosing(model.stream(ModelRequest(QUESTION, "slow:500:0.01"))) as events:
        await anext(events)
    (row,) = await rows(layer, model)
    assert (row.finish_reason, row.is_estimated) == ("stopped", True)


async def test_an_answer_without_streaming_is_a_row(layer: ChainlitLayer, model: MeteredModel) -> None:
    completion = await model.complete(ModelRequest(QUESTION, "echo", purpose=Purpose("title")))
    (row,) = await rows(layer, model)
    assert (row.kind, row.is_streaming, row.status_code) == ("title", False, 200)
    assert completion.finish.usage is not None
    assert row.completion_tokens == completion.finish.usage.completion_tokens


@pytest.mark.parametrize("choices", ["[]", '[{"index": 0, "message": null}]'])
async def test_an_empty_answer_is_a_failure_with_its_tokens(layer: ChainlitLayer, choices: str) -> None:
    """For example, a content filter removed the whole answer. The call is a failure, but the server bills it."""
    body = f'{{"choices": {choices}, "usage": {{"prompt_tokens": 40, "completion_tokens": 7}}}}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    model = MeteredModel(create_model(base_url=f"http://127.0.0.1:{port}/v1"), layer)
    with pytest.raises(ModelError):
        await model.complete(ModelRequest(QUESTION, "m"))
    with pytest.raises(ModelError):
        await ask(model, "m")
    for row in await rows(layer, model):
        assert (row.error_kind, row.prompt_tokens, row.completion_tokens) == ("server", 40, 7)
        assert not row.is_estimated
    await model.close()
    server.close()
    await server.wait_closed()


async def test_an_own_price_is_used_and_stored_with_the_call(layer: ChainlitLayer, model: MeteredModel) -> None:
    price = Price(new_id(), "ECHO|other", "2020-01-01T00:00:00Z", input=Decimal("2.5"), output=Decimal(10))
    await layer.add_price(price)
    answer = await ask(model, "echo")
    (row,) = await rows(layer, model)
    assert row.prompt_tokens is not None
    assert row.input_cost == Decimal("2.5") * row.prompt_tokens / 1_000_000
    assert row.output_cost == Decimal(10) * len(pieces(answer)) / 1_000_000
    assert row.total_cost == row.input_cost + row.output_cost
    assert row.price == {"source": f"own {price.id}", "input": "2.5", "cached": "2.5", "output": "10"}


async def test_messages_and_answer_are_stored_without_secrets_and_pictures(
    layer: ChainlitLayer, model_server: ModelServer
) -> None:
    inner = create_model(api_key=API_KEY, base_url=model_server.base_url, timeout_seconds=60)
    model = MeteredModel(inner, layer, redact=lambda text: text.replace(API_KEY, "***"))
    picture = f"data:image/png;base64,{'A' * 400}"
    messages = [user_message(f"My key is {API_KEY}.", picture_parts("a.png", picture))]
    async with aclosing(model.stream(ModelRequest(messages, "echo"))) as events:
        assert [event async for event in events]
    (row,) = await rows(layer, model)
    kept = await payload_of(layer, row)
    assert kept is not None
    assert kept.messages == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": '<picture name="a.png">'},
                {"type": "picture", "media_type": "image/png", "bytes": 300},
                {"type": "text", "text": "My key is ***."},
            ],
        }
    ]
    assert kept.response is not None
    assert kept.response.endswith("My key is ***.")
    await model.close()


async def test_pictures_count_for_later_prices_and_for_limits(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    """A price that is added after the call includes its pictures, and a limit in dollars counts their cost."""
    pictures = [part for name in "ab" for part in picture_parts(name, f"data:image/png;base64,{'A' * 400}")]
    request = ModelRequest([user_message("What is this?", pictures)], "echo")
    await model.complete(request)
    (unpriced,) = await rows(layer, model)
    assert unpriced.total_cost is None
    by_token = Price(new_id(), "echo", "2026-01-01T00:00:00Z", Decimal(0), Decimal(0))
    by_picture = replace(by_token, id=new_id(), valid_from="2026-01-02T00:00:00Z", image=Decimal("0.75"))
    costs = costs_of(unpriced, [by_token])
    assert costs is not None
    repriced = costs_of(replace(unpriced, price=costs.price), [by_picture])
    assert repriced is not None
    assert (costs.total, repriced.total) == (Decimal(0), Decimal("1.5"))
    await layer.add_price(by_picture)
    priced = MeteredModel(create_model(base_url=model_server.base_url), layer)
    with pytest.raises(ModelError) as refused:
        await priced.complete(replace(request, purpose=await limited(layer, 1, "dollars")))
    assert (refused.value.kind, len(model_server.requests)) == ("over_limit", 1)
    await priced.close()


async def test_messages_are_not_stored_if_the_setting_is_off(layer: ChainlitLayer, model_server: ModelServer) -> None:
    inner = create_model(api_key=API_KEY, base_url=model_server.base_url)
    model = MeteredModel(inner, layer, keep_payloads=False)
    await ask(model, "echo")
    (row,) = await rows(layer, model)
    assert await payload_of(layer, row) is None
    await model.close()


async def test_a_call_to_azure_has_its_deployment(layer: ChainlitLayer, model_server: ModelServer) -> None:
    inner = create_model(azure_endpoint=model_server.root, azure_api_key="azure-key", max_retries=0)
    model = MeteredModel(inner, layer)
    await ask(model, "gpt-4o-mini")
    (row,) = await rows(layer, model)
    assert (row.provider, row.deployment) == ("azure", "gpt-4o-mini")
    assert row.total_cost is not None
    assert (row.price or {})["source"].startswith("genai-prices ")
    await model.close()


# Limits


async def limited(layer: ChainlitLayer, amount: int | str, unit: Any = "tokens") -> Purpose:
    """The purpose of a call by a user with this daily limit."""
    alice = await layer.add_account("alice", "hash")
    await layer.put_limit(Limit(new_id(), "users", None, "day", unit, Decimal(amount)))
    return Purpose(user_id=alice.id)


async def reserved(layer: ChainlitLayer) -> int:
    async with layer.database.read() as connection:
        return len((await connection.execute(select(usage_reservations))).all())


async def test_without_a_limit_a_call_reads_nothing_from_the_database(
    layer: ChainlitLayer, model: MeteredModel
) -> None:
    await ask(model, "echo")
    await rows(layer, model)
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    for engine in (layer.database.engine, layer.database.writing_engine):
        event.listen(engine.sync_engine, "before_cursor_execute", count)
    await ask(model, "echo")
    assert [statement for statement in statements if statement.lstrip().upper().startswith("SELECT")] == []


async def test_over_the_limit_no_request_is_sent(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    purpose = await limited(layer, 60)
    await ask(model, "echo", purpose=purpose)
    await rows(layer, model)
    assert await reserved(layer) == 0
    with pytest.raises(ModelError) as refused:
        while True:
            await ask(model, "echo", purpose=purpose)
            await rows(layer, model)
    assert refused.value.kind == "over_limit"
    assert "60 tokens a day" in refused.value.detail
    assert "today's limit (60 tokens)" in explain(refused.value, "en", model="echo")
    assert "今天" in explain(refused.value, "zh", model="echo")
    assert len(await rows(layer, model)) == len(model_server.requests)
    with pytest.raises(ModelError):
        await model.complete(ModelRequest(QUESTION, "echo", purpose=Purpose("title", user_id=purpose.user_id)))
    # A call without a user is not affected by the limit of this user.
    assert await ask(model, "echo")


async def test_the_answer_is_limited_to_the_remaining_tokens(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    purpose = await limited(layer, 100)
    await ask(model, "echo", purpose=purpose)
    question = await message_tokens(QUESTION, counter_for("echo"))
    assert model_server.requests[-1].body["max_tokens"] == 100 - question


async def test_a_limited_answer_uses_the_configured_window(layer: ChainlitLayer, model_server: ModelServer) -> None:
    """Without the setting, a long question to a model with an unknown window would limit the answer to one token."""
    purpose = await limited(layer, 20_000)
    question: list[ChatMessage] = [{"role": "user", "content": "word " * 9_000}]
    model = MeteredModel(create_model(base_url=model_server.base_url), layer, window=100_000)
    await model.complete(ModelRequest(question, "echo", purpose=purpose))
    assert model_server.requests[-1].body["max_tokens"] == 4_096
    await rows(layer, model)
    await model.close()


async def test_concurrent_calls_do_not_exceed_the_limit(
    layer: ChainlitLayer, database_url: str, model_server: ModelServer
) -> None:
    purpose = await limited(layer, 500)
    layers = [layer, datalayer.create_data_layer(database_url)]
    models = [MeteredModel(create_model(base_url=model_server.base_url), one) for one in layers]
    # An answer that ends before all are asked gives back what it did not use, and one more call is within the limit.
    answer_now = model_server.hold_answers()
    asked = [
        asyncio.create_task(ask(model, "slow:5:0", purpose=purpose, max_tokens=50))
        for model in models
        for _ in range(10)
    ]
    await until(lambda: sum(one.done() for one in asked) + len(model_server.requests) == len(asked))
    answer_now.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ModelError)]
    assert {error.kind for error in refused} == {"in_flight"}
    found = await rows(layer, models[0])
    await rows(layer, models[1])
    assert 0 < len(answers) - len(refused) == len(model_server.requests) <= 500 // 50
    assert all(row.completion_tokens == 5 for row in found)
    assert await reserved(layer) == 0
    for model in models:
        await model.close()
    await layers[1].close()


@pytest.mark.parametrize("unit", ["tokens", "dollars"])
async def test_a_question_larger_than_the_rest_is_refused_with_the_rest(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer, unit: str
) -> None:
    await layer.add_price(Price(new_id(), "echo", "2020-01-01T00:00:00Z", Decimal(1_000), Decimal(1_000)))
    amount = 200 if unit == "tokens" else "0.2"
    purpose = await limited(layer, amount, unit)
    prompt: ChatMessage = {"role": "system", "content": "Be brief."}

    async def refusal(question: str, system: ChatMessage = prompt) -> str:
        messages: list[ChatMessage] = [system, {"role": "user", "content": question}]
        with pytest.raises(ModelError) as refused:
            await model.complete(ModelRequest(messages, "echo", purpose=purpose))
        assert refused.value.kind == "over_limit"
        return explain(refused.value, "en", model="echo")

    long = await refusal("word " * 300)
    left = "200" if unit == "tokens" else "$0.20"
    assert "Of today's limit (" in long
    assert f"), {left} are left" in long
    # Here the system prompt alone exceeds the limit, so a shorter question would not help.
    little = await refusal("word", {"role": "system", "content": "word " * 300})
    assert f"), {left} are left, which is too little for an answer" in little
    assert model_server.requests == []
    await ask(model, "echo", purpose=purpose)
    assert len(model_server.requests) == 1


async def test_a_user_is_warned_once_when_little_is_left(layer: ChainlitLayer, model: MeteredModel) -> None:
    warnings: list[LimitStanding] = []

    async def warn(standing: LimitStanding) -> None:
        warnings.append(standing)

    purpose = replace(await limited(layer, 1_000), on_warning=warn)
    project, now = await layer.default_project(), utc_now()
    record = LlmCall(new_id(), "chat", "m", now, user_id=purpose.user_id, project_id=project, prompt_tokens=799)
    await layer.record_call(record)
    await ask(model, "echo", purpose=purpose)
    await rows(layer, model)
    assert warnings == []
    for _ in range(2):
        await ask(model, "echo", purpose=purpose)
        await rows(layer, model)
    assert len(warnings) == 1
    assert "% of today's limit (1,000 tokens)" in say_nearly_used(warnings[0], "en")


async def test_a_model_without_a_price_is_refused_under_a_limit_in_dollars(
    layer: ChainlitLayer, model: MeteredModel, model_server: ModelServer
) -> None:
    purpose = await limited(layer, "0.5", "dollars")
    with pytest.raises(ModelError) as refused:
        await ask(model, "echo", purpose=purpose)
    assert (refused.value.kind, model_server.requests) == ("unpriced", [])


async def test_a_stopped_call_releases_its_reservation(layer: ChainlitLayer, model: MeteredModel) -> None:
    purpose = await limited(layer, 1_000_000)
    async with aclosing(model.stream(ModelRequest(QUESTION, "slow:500:0.01", purpose=purpose))) as events:
        await anext(events)
        assert await reserved(layer) == 1
    await rows(layer, model)
    assert await reserved(layer) == 0


async def test_a_reservation_lasts_until_the_end_of_the_answer(
    layer: ChainlitLayer, model: MeteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("limits", "metered_model"):
        monkeypatch.setattr(f"threadkeeper.chat.metering.{module}.RESERVED_SECONDS", 1.5)
    purpose = await limited(layer, 120)
    async with aclosing(model.stream(ModelRequest(QUESTION, "slow:600:0.05", purpose=purpose))) as events:
        await anext(events)
        await asyncio.sleep(2)
        with pytest.raises(ModelError) as refused:
            await ask(model, "echo", purpose=purpose)
        assert refused.value.kind == "in_flight"
    await rows(layer, model)
    assert await reserved(layer) == 0
    await asyncio.sleep(1)
    assert await reserved(layer) == 0


async def test_a_slow_count_neither_delays_the_end_of_an_answer_nor_loses_its_row(
    layer: ChainlitLayer, model: MeteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, may_count = tokens.TokenCounter.counts, asyncio.Event()

    async def slow(self: tokens.TokenCounter, texts: Sequence[str]) -> list[int]:
        await may_count.wait()
        return await counted(self, texts)

    monkeypatch.setattr(tokens.TokenCounter, "counts", slow)
    monkeypatch.setattr("threadkeeper.chat.metering.metered_model._COUNT_SECONDS", 0.01)
    await ask(model, "no-usage")
    monkeypatch.setattr("threadkeeper.chat.metering.metered_model._COUNT_SECONDS", 10)
    may_count.set()
    await model.close()
    (row,) = await rows(layer, model)
    assert row.is_estimated
    assert row.completion_tokens
