"""What the gateway refuses, and how errors of a provider and of a connection end."""

import asyncio
import contextlib
import json
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from datalayer import CallFilter, Provider, User
from datalayer.records.usage import STOPPED, Limit, Price
from tests.support.calls import call
from tests.support.patience import until
from tests.support.records import new_id
from tests.web.conftest import Browser
from tests.web.gateway_rig import SECRET, WORDS, Rig, chat, raw_request, text_of


async def test_an_upload_is_streamed_and_bounded(rig: Rig) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(50_000)

    headers = {"Authorization": f"Bearer {rig.secret}", "Content-Type": "application/octet-stream"}
    url = rig.url("openai", "mirror")
    seen = (await rig.client.post(url, content=pieces(18), headers=headers)).json()
    assert (seen["bytes"], seen["headers"].get("transfer-encoding")) == (900_000, "chunked")
    whole = (await rig.client.post(url, content=bytes(900_000), headers=headers)).json()
    sent = {name: whole["headers"].get(name) for name in ("content-length", "transfer-encoding")}
    assert (whole["bytes"], sent) == (900_000, {"content-length": "900000", "transfer-encoding": None})
    for content in (pieces(30), bytes(1_500_000)):
        refused = await rig.client.post(url, content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    large = await rig.post("chat/completions", chat() | {"padding": "x" * 1_100_000})
    assert (large.status_code, len(rig.model_server.requests)) == (413, 0)


@pytest.mark.parametrize("model", ["401", "429", "500", "404"])
async def test_an_error_of_the_provider_is_passed_back_and_recorded(rig: Rig, model: str) -> None:
    answer = await rig.post("chat/completions", chat(model))
    call = await rig.call()
    assert answer.status_code == call.status_code == int(model)
    assert answer.json()["error"]["code"] in (call.error_message or "")
    assert (call.error_kind is not None, call.prompt_tokens, call.total_cost) == (True, None, None)
    assert SECRET not in (call.error_message or "")


@pytest.mark.parametrize(("model", "kind"), [("error:2", "server"), ("cut:2", "cut")])
async def test_an_error_in_a_stream_is_recorded(rig: Rig, model: str, kind: str) -> None:
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError, httpx.ReadError)):
        await text_of(await rig.openai().chat.completions.create(**chat(model, stream=True)))
    call = await rig.call()
    assert (call.error_kind, call.status_code) == (kind, 200)
    assert call.is_estimated
    assert (await rig.payload(call)).response == "word-1 word-2 "


@pytest.mark.parametrize(
    ("address", "status", "kind"),
    [
        ("/gateway/lab/openai/../../admin", 400, "path_refused"),
        ("/gateway/lab/openai/%2e%2e/%2e%2e/_requests", 400, "path_refused"),
        ("/gateway/lab/openai/..%2f..%2f_requests", 400, "path_refused"),
        ("/gateway/lab/openai//evil.example/x", 400, "path_refused"),
        ("/gateway/lab/openai/http://evil.example/x", 400, "path_refused"),
        ("/gateway/lab/openai/a%00b", 400, "path_refused"),
        ("/gateway/lab/openai?target_path=../_requests", 400, "path_refused"),
        ("/gateway/lab/theirs/models", 404, "provider_not_found"),
        ("/gateway/other/theirs/models", 404, "project_not_found"),
        ("/gateway/nowhere/openai/models", 404, "project_not_found"),
        ("/gateway/lab%2Fopenai/models", 404, "project_not_found"),
        ("/gateway/lab", 404, "project_not_found"),
        ("/gateway", 404, "project_not_found"),
        ("/gateway/lab/incomplete/models", 503, "provider_incomplete"),
        ("/gateway/lab/unset/models", 503, "provider_key_missing"),
        ("/gateway/lab/ours/models", 503, "provider_key_refused"),
        ("/gateway/lab/away/models", 502, "unreachable"),
    ],
)
async def test_what_leads_elsewhere_is_refused(rig: Rig, address: str, status: int, kind: str) -> None:
    raw = await raw_request(rig, "GET", address)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert json.loads(body)["error"]["code"] == kind
    # Another call ends later, so the rows and requests before it are all there.
    await rig.client.get(rig.url("openai", "models"), headers={"x-api-key": rig.secret})
    await rig.calls(1 + (status == 502))
    assert len((await rig.layer.list_calls(CallFilter())).rows) == 1 + (status == 502), "only what was asked is a call"
    assert not rig.model_server.requests


async def test_a_redirect_is_not_followed(rig: Rig) -> None:
    answer = await rig.post("redirect", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "redirected")
    assert "location" not in answer.headers
    await rig.post("audio/transcriptions", {})
    first, _ = await rig.calls(2)
    assert (first.status_code, first.error_kind) == (307, "redirected")
    assert not rig.model_server.requests, "nobody asked the address of the redirect"


async def test_a_provider_that_breaks_off_before_its_answer_is_a_bad_gateway(rig: Rig) -> None:
    """Also within a refusal that the gateway reads itself."""
    streaming = await rig.post("broken/chat/completions", chat(stream=True))
    assert (streaming.status_code, streaming.json()["error"]["code"]) == (502, "cut")
    call = await rig.call()
    assert (call.status_code, call.error_kind) == (None, "cut")


async def test_answers_that_say_nothing_are_told_as_such(rig: Rig) -> None:
    answers = [b"\x00 no HTTP\r\n\r\n", b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n{}"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"gamma")
        writer.write(answers.pop(0))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        odd = Provider("Odd", "odd", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await rig.layer.put_project(replace(rig.project, providers=(odd,)))
        first, second = [await rig.post("v1/chat/completions", chat(), "odd") for _ in range(2)]
    assert (first.status_code, first.json()["error"]["code"]) == (502, "unreadable")
    assert (second.status_code, second.json()) == (413, {})
    calls = await rig.calls(2)
    assert [(one.error_kind, one.error_message) for one in calls] == [
        ("unreadable", "The answer of 127.0.0.1 is not valid HTTP."),
        ("too_long", "HTTP 413"),
    ]


async def test_a_refusal_has_the_form_of_the_callers_provider(rig: Rig) -> None:
    question = {"contents": [{"role": "user", "parts": [{"text": WORDS}]}]}
    path = "v1beta/models/gemini-x:generateContent"
    nobody = await rig.client.post(rig.url("gemini", path), json=question, headers={"x-goog-api-key": "tk_wrong"})
    away = await rig.client.post(rig.url("away", path), json=question, headers={"x-goog-api-key": rig.secret})
    assert [answer.json()["error"]["status"] for answer in (nobody, away)] == ["UNAUTHENTICATED", "UNAVAILABLE"]
    assert [answer.json()["error"]["code"] for answer in (nobody, away)] == [401, 502]


async def test_an_unforeseen_error_is_logged_and_has_that_form_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("threadkeeper.gateway.exchange.Exchange._ask", fail)
    asked = await rig.post("chat/completions", chat())
    monkeypatch.setattr("threadkeeper.gateway.gateway.Gateway._asked", fail)
    read = await rig.post("chat/completions", chat())
    monkeypatch.setattr("threadkeeper.web.auth.keys.KeyGate.key_of", fail)
    known = await rig.post("chat/completions", chat())
    other = await rig.client.post(f"{rig.client.base_url}/v1/chat/completions", json=chat())
    for answer in (asked, read, known, other):
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
    recorded = await rig.call()
    assert recorded.error_kind == "server_error"
    first, second, third, fourth = [one for one in caplog.records if one.exc_info]
    assert vars(first)["call_id"] == recorded.id
    assert recorded.key_id is not None
    assert recorded.key_id in second.getMessage()
    assert third.getMessage() == "POST /gateway/lab/openai/chat/completions fails"
    assert fourth.getMessage() == "POST /v1/chat/completions fails"


async def test_without_a_key_for_the_gateway_nothing_is_asked(rig: Rig, browser_of: Browser) -> None:
    _, reader = await rig.layer.create_api_key("reader", ["threads:read"], user="uma", project="lab")
    revoked, gone = await rig.layer.create_api_key("gone", ["gateway"], user="uma", project="lab")
    await rig.layer.revoke_api_key(revoked.id)
    _, other = await rig.layer.create_api_key("other", ["gateway"], user="uma")
    for secret, status in (("", 401), ("tk_wrong", 401), (gone, 401), (reader, 403), (other, 404)):
        headers = {"x-api-key": secret} if secret else {}
        answer = await rig.client.post(rig.url("openai", "chat/completions"), json=chat(), headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
    # A session of the browser is no key.
    ada = await browser_of("admin")
    assert (await ada.post(rig.url("openai", "chat/completions"), json=chat())).status_code == 401
    assert not rig.model_server.requests


async def test_the_callers_own_key_goes_only_where_the_project_says_so(rig: Rig) -> None:
    both = {"Authorization": "Bearer sk-own", "x-api-key": rig.secret}
    for provider, passed in (("own", "Bearer sk-own"), ("openai", f"Bearer {SECRET}")):
        await rig.client.post(rig.url(provider, "chat/completions"), json=chat(), headers=both)
        recorded = rig.model_server.requests[-1]
        assert recorded.headers["authorization"] == passed
        assert rig.secret not in str(recorded.headers)
    stored = [str(await rig.layer.get_call(call.id)) for call in await rig.calls(2)]
    assert not [text for text in stored if "sk-own" in text or SECRET in text or rig.secret in text]


async def test_a_key_may_be_for_some_models_and_some_tokens_only(rig: Rig) -> None:
    _, some = await rig.layer.create_api_key(
        "some", ["gateway"], user="uma", project="lab", models=["echo"], tokens_per_minute=5_000
    )
    client = rig.openai(secret=some)
    assert (await client.chat.completions.create(**chat())).choices
    with pytest.raises(openai.PermissionDeniedError, match="echo"):
        await client.chat.completions.create(**chat("gpt-x"))
    for names in (
        *('"model": "gpt-x", "model": "echo"', '"model": "echo", "Model": "gpt-x"'),
        *('"model": "echo", "models": ["echo", "gpt-x"]', '"model": "echo", "fallbacks": [{"model": "gpt-x"}]'),
    ):
        body = f'{{{names}, "messages": [{{"role": "user", "content": "two models"}}]}}'
        with pytest.raises(openai.PermissionDeniedError, match=r"none named, or several"):
            await client.post("/chat/completions", cast_to=object, content=body.encode())
    sound: dict[str, Any] = {"file": ("a.wav", b"RIFF" * 40_000), "model": (None, "gpt-x")}
    for form in (sound, {"model": (None, "echo"), "file": sound["file"], "Model": sound["model"]}):
        bearer = {"authorization": f"Bearer {some}"}
        refused = await rig.client.post(rig.url("openai", "audio/transcriptions"), files=form, headers=bearer)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    with pytest.raises(openai.RateLimitError, match="tokens a minute"):
        for _ in range(3):
            await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "word " * 3_000}])


async def test_the_budget_is_reserved_before_and_settled_after(rig: Rig, people: dict[str, User]) -> None:
    limit = Limit(new_id(), "project", rig.project.id, "day", "tokens", Decimal(2_000))
    await rig.layer.put_limit(limit)
    client = rig.openai()
    stream = await client.chat.completions.create(**chat("slow:200:0.02", stream=True, max_tokens=1_500))
    async for _ in stream:
        break
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    assert standing.in_flight > 1_500
    with pytest.raises(openai.RateLimitError, match=r"asks for more|in progress"):
        await client.chat.completions.create(**chat(max_tokens=1_500))
    assert await text_of(stream)
    call = await rig.call()
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    assert standing.used == (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    await until(lambda: _released(rig))


async def _released(rig: Rig) -> bool:
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    return standing.in_flight == 0


async def test_a_model_version_names_the_model_that_is_billed(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "gpt-dear", "2020-01-01", Decimal(100), Decimal(100)))
    client = rig.openai(default_query={"ai_model_version": "gpt-dear"})
    await client.chat.completions.create(**chat())
    call = await rig.call()
    assert (call.model, call.answered_by) == ("echo", "gpt-dear")
    assert call.total_cost


async def test_a_model_version_does_not_lower_the_price_of_a_model_that_has_one(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(100), Decimal(100)))
    await rig.layer.add_price(Price(new_id(), "gpt-cheap", "2020-01-01", Decimal(1), Decimal(1)))
    client = rig.openai(default_query={"ai_model_version": "gpt-cheap"})
    await client.chat.completions.create(**chat())
    call = await rig.call()
    assert call.answered_by != "gpt-cheap"
    tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    assert call.total_cost == Decimal(tokens) * 100 / 1_000_000


async def test_a_key_of_ours_in_the_query_is_not_passed_on(rig: Rig) -> None:
    answer = await rig.client.post(
        f"{rig.url('own', 'chat/completions')}?key={rig.secret}&a=1",
        json=chat(),
        headers={"x-api-key": rig.secret, "authorization": f"Token {rig.secret}"},
    )
    assert answer.status_code in (200, 401)
    assert all(rig.secret not in str((one.query, one.headers)) for one in rig.model_server.requests)


async def test_words_of_a_caller_do_not_stop_the_question_for_usage(rig: Rig) -> None:
    """A refusal that has `include_usage` in it because the caller sent that word proves nothing."""
    model = "refuse:include_usage"
    refused = await rig.post("chat/completions", chat(model, stream=True, include_usage="yes"))
    assert refused.status_code == 400
    async for _ in await rig.openai().chat.completions.create(**chat(model, stream=True)):
        pass
    _, call = await rig.calls(2)
    assert (call.prompt_tokens is not None, call.is_estimated) == (True, False)


async def test_a_deployment_is_priced_as_the_model_that_last_answered(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "gpt-known", "2020-01-01", Decimal(1), Decimal(1)))
    await rig.layer.put_limit(Limit(new_id(), "project", rig.project.id, "day", "dollars", Decimal(1)))
    earlier = call(model="gpt-east", provider="127.0.0.1", answered_by="gpt-known")
    await rig.layer.record_call(earlier)
    paths = (f"openai/deployments/{name}/chat/completions?api-version=1" for name in ("gpt-east", "gpt-west"))
    asked = [await rig.post(path, chat(), provider="azure") for path in paths]
    assert [(one.status_code, one.json().get("error", {}).get("code")) for one in asked] == [
        (200, None), (403, "unpriced"),
    ]  # fmt: skip


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_call_waits_for_its_begin_to_be_stored_but_not_for_ever(
    rig: Rig, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("threadkeeper.gateway.calls._BEGIN_SECONDS", 0.3)
    await rig.post("chat/completions", chat())
    await rig.calls()
    with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        assert (await rig.post("chat/completions", chat())).status_code == 200
        assert time.monotonic() - begun >= 0.3
        other.rollback()
    assert "does not wait any longer" in caplog.text
    assert [one.finish_reason for one in await rig.calls(2)] == ["stop", "stop"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_provider_is_not_asked_before_the_begin_of_the_call_is_stored(rig: Rig, database_url: str) -> None:
    await rig.post("chat/completions", chat())
    await rig.calls()
    asked, writes = rig.model_server.requests, rig.layer._writer
    with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        leaves = asyncio.create_task(rig.post("chat/completions", chat()))
        await until(lambda: len(writes) == 1)
        leaves.cancel()
        await until(lambda: len(writes) == 2)
        stays = asyncio.create_task(rig.post("chat/completions", chat()))
        await until(lambda: len(writes) == 3)
        assert len(asked) == 1
        other.rollback()
    assert (await stays).status_code == 200
    assert [one.finish_reason for one in await rig.calls(3)] == ["stop", STOPPED, "stop"]
    assert len(asked) == 2


async def test_a_request_that_uses_no_tokens_reserves_none(rig: Rig) -> None:
    await rig.layer.put_limit(Limit(new_id(), "project", rig.project.id, "day", "tokens", Decimal(1)))
    read = await rig.client.get(rig.url("openai", "models"), headers={"x-api-key": rig.secret})
    assert (read.status_code, (await rig.post("chat/completions", chat())).status_code) == (200, 429)


@pytest.mark.parametrize(
    "header",
    [b"X-Note: one\r X-Added: two", b"X-Note: one\x00", b"X-Note: \xff", b"X-No te: one"],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_header_does_not_become_two(rig: Rig, header: bytes) -> None:
    place = urlsplit(str(rig.client.base_url))
    head = b"GET /gateway/lab/openai/mirror HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: "
    reader, writer = await asyncio.open_connection(place.hostname, place.port, family=socket.AF_INET)
    writer.write(head + rig.secret.encode() + b"\r\n" + header + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    status = int(answer.split(b" ", 2)[1])
    assert status == 400, answer


@pytest.mark.parametrize("path", ["a%0d%0aX-Added:%20two", "mirror?a=b%0d%0aX-Added:%20two&tags=t%0d%0aX-Added:two"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_address_adds_no_header(rig: Rig, path: str) -> None:
    raw = await raw_request(rig, "POST", f"/gateway/lab/openai/{path}")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"x-added" not in head.lower()
    if path.startswith("mirror"):
        assert "x-added" not in json.loads(body)["headers"]
        assert (await rig.call()).tags == ("tX-Added:two",)
    else:
        assert head.split()[1] in (b"400", b"404")
        assert not rig.model_server.requests


async def test_a_head_is_bounded_and_an_offer_of_http_2_does_not_lose_the_body(rig: Rig) -> None:
    """What httptools would do otherwise (docs/adr/0035)."""
    place = urlsplit(str(rig.client.base_url))
    for begin, piece in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: ", b"b"),
        (b"GET /", b"a"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
    ):
        reader, writer = await asyncio.open_connection(place.hostname, place.port, family=socket.AF_INET)
        answering, sent = asyncio.create_task(reader.read()), 0
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            while not answering.done() and sent < 50_000_000:
                writer.write(piece * (16_384 // len(piece)))
                await writer.drain()
                sent += 16_384
        assert sent < 50_000_000, begin
        with contextlib.suppress(ConnectionError):
            assert (await answering).startswith(b"HTTP/1.1 4"), begin
        writer.close()
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"}
    headers = {"Authorization": f"Bearer {rig.secret}", "Content-Type": "text/plain", **offer}
    seen = (await rig.client.post(rig.url("openai", "mirror"), content=b"abc", headers=headers)).json()
    assert (seen["bytes"], "upgrade" in seen["headers"]) == (3, False)
