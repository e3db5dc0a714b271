"""The gateway over real HTTP, before the scripted server: official clients, every dialect, every row."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import openai
import pytest

from datalayer import User
from datalayer.records.usage import STOPPED, LlmCall, Price
from tests.support.patience import until
from tests.support.provider_dialects import CACHED, THOUGHT
from tests.support.records import new_id
from tests.web.conftest import Browser
from tests.web.gateway_rig import SECRET, WORDS, Rig, chat, raw_request, text_of

_FRAMEWORKS, _OURS = ("starlette", "fastapi", "chainlit"), ("threadkeeper/gateway", "threadkeeper/chat")
_PARTS = (*_FRAMEWORKS, *_OURS)


async def test_the_openai_client_streams_and_its_call_is_recorded(rig: Rig, people: dict[str, User]) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(2), Decimal(10)))
    client = rig.openai(default_query={"tags": "night,batch"}, default_headers={"x-threadkeeper-tags": "night, own"})
    stream = await client.chat.completions.create(**chat(stream=True))
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"You said: {WORDS}"
    assert all(chunk.choices for chunk in chunks), "the frame that the caller did not ask for is taken out"
    call, (recorded,), (billed,) = await rig.call(), rig.model_server.requests, rig.model_server.ledger
    assert recorded.headers["authorization"] == f"Bearer {SECRET}"
    assert recorded.query == {}
    assert recorded.body["stream_options"] == {"include_usage": True}
    assert not [name for name in recorded.headers if name.startswith("x-threadkeeper")]
    assert (call.prompt_tokens, call.completion_tokens) == (billed.prompt_tokens, billed.completion_tokens)
    assert call.total_cost == (2 * billed.prompt_tokens + 10 * billed.completion_tokens) / Decimal(1_000_000)
    assert (call.kind, call.model, call.answered_by, call.status_code) == ("chat", "echo", "echo", 200)
    assert (call.finish_reason, call.error_kind, call.is_streaming, call.is_estimated) == ("stop", None, True, False)
    assert (call.tags, call.user_id, call.project_id) == (("night", "batch", "own"), people["user"].id, rig.project.id)
    assert (call.provider, call.deployment, call.operating_system) == ("127.0.0.1", "openai", "Linux")
    assert (call.library or "").startswith("AsyncOpenAI/Python")
    assert call.seconds is not None
    assert call.first_token_seconds is not None
    assert call.first_token_seconds <= call.seconds
    assert call.tokens_per_second
    payload = await rig.payload(call)
    assert payload.messages == [{"role": "user", "content": WORDS}]
    assert payload.response == f"You said: {WORDS}"


async def test_the_row_of_a_call_names_its_service_tier(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "gpt-.*", "2020-01-01", Decimal(2), Decimal(10)))
    client = rig.openai()
    await client.chat.completions.create(**chat(service_tier="priority"))
    unpriced = await rig.call()
    assert (unpriced.total_cost, unpriced.price) == (None, {"service_tier": "priority"})
    await client.chat.completions.create(**chat(service_tier="flex", model="gpt-x"))
    priced = (await rig.calls(2))[-1]
    assert priced.price is not None
    assert (priced.price["service_tier"], priced.price["is_of_tier"]) == ("flex", False)


async def test_a_caller_that_asks_for_usage_gets_its_frame(rig: Rig) -> None:
    stream = await rig.openai().chat.completions.create(**chat(stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in [chunk async for chunk in stream] if chunk.usage]
    call = await rig.call()
    assert [usage.prompt_tokens for usage in usages] == [call.prompt_tokens]


async def test_a_server_that_refuses_the_question_for_usage_gets_the_callers_own_request(rig: Rig) -> None:
    client = rig.openai()
    for _ in range(2):
        stream = await client.chat.completions.create(**chat("refuse:stream_options", stream=True))
        assert await text_of(stream) == f"You said: {WORDS}"
    bodies = [recorded.body for recorded in rig.model_server.requests]
    assert ["stream_options" in body for body in bodies] == [True, False, False]
    calls = await rig.calls(2)
    # The tokens that were not reported are counted, and marked so.
    assert all(call.is_estimated and call.completion_tokens and call.prompt_tokens for call in calls)


async def test_every_dialect_is_recorded_to_the_token(rig: Rig, people: dict[str, User]) -> None:
    client, server = rig.openai(), rig.model_server
    completion = await client.chat.completions.create(**chat())
    assert completion.choices[0].message.content == f"You said: {WORDS}"
    old = await client.completions.create(model="gpt-old", prompt=WORDS, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in old]) == f"You said: {WORDS}"
    response = await client.responses.create(model="gpt-r", input=WORDS)
    assert response.output_text == f"You said: {WORDS}"
    async with client.responses.stream(model="gpt-r", input=WORDS) as events:
        assert (await events.get_final_response()).output_text == f"You said: {WORDS}"
    embedded = await client.embeddings.create(model="echo", input=["a b", "c"], encoding_format="float")
    assert len(embedded.data) == 2
    assert (await client.images.generate(model="gpt-image", prompt=WORDS)).data
    heard = await client.audio.transcriptions.create(model="whisper", file=("a.wav", bytes(100_000)))
    assert heard.text == "100000 bytes for whisper"
    spoken = await client.audio.speech.create(model="tts", input=WORDS, voice="alloy")
    assert spoken.content == bytes(range(256))
    assert not (await client.moderations.create(model="mod", input=WORDS)).results[0].flagged
    azure = await rig.opened.enter_async_context(openai.AsyncAzureOpenAI(
        api_key=rig.secret, api_version="2024-10-21", azure_endpoint=rig.url("azure").rstrip("/"), max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ))  # fmt: skip
    assert (await azure.chat.completions.create(**chat("gpt-east"))).choices
    calls = await rig.calls(10)
    found = [(call.kind, call.model, call.prompt_tokens, call.completion_tokens, call.is_streaming) for call in calls]
    prompt, answer = server.ledger[0].prompt_tokens, server.ledger[0].completion_tokens
    assert found == [
        ("chat", "echo", prompt, answer, False),
        ("completion", "gpt-old", 3, 5, True),
        ("chat", "gpt-r", 3, 5, False),
        ("chat", "gpt-r", 3, 5, True),
        ("embedding", "echo", 3, 0, False),
        ("image", "gpt-image", 7, 100, False),
        ("audio", "whisper", 14, 3, False),
        ("audio", "tts", None, None, False),
        ("moderation", "mod", None, None, False),
        ("chat", "gpt-east", prompt, answer, False),
    ]
    assert [call.is_estimated for call in calls] == [False] * 10
    assert [call.status_code for call in calls] == [200] * 10
    assert calls[-1].deployment == "east"
    assert server.requests[-1].headers["api-key"] == SECRET
    assert "authorization" not in server.requests[-1].headers


async def test_the_anthropic_client_streams_and_its_cached_tokens_count(rig: Rig) -> None:
    import anthropic  # noqa: PLC0415  slow, and few tests need it

    client = await rig.opened.enter_async_context(anthropic.AsyncAnthropic(
        api_key=rig.secret, base_url=rig.url("anthropic").rstrip("/"), max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
    ))  # fmt: skip
    asked: Any = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": WORDS}]}
    message = await client.messages.create(**asked)
    assert message.content[0].type == "text"
    async with client.messages.stream(**asked) as stream:
        assert await stream.get_final_text() == f"You said: {WORDS}"
    calls = await rig.calls(2)
    for call, streams in zip(calls, (False, True), strict=True):
        assert (call.prompt_tokens, call.completion_tokens, call.cached_tokens) == (3 + CACHED, 5, CACHED)
        assert (call.kind, call.model, call.finish_reason, call.is_streaming) == ("chat", "claude", "end_turn", streams)
    assert [recorded.headers["x-api-key"] for recorded in rig.model_server.requests] == [SECRET, SECRET]
    assert (await rig.payload(calls[1])).response == f"You said: {WORDS}"


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"])
async def test_gemini_is_recorded_with_its_thought(rig: Rig, method: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": WORDS}]}]}
    url = rig.url("gemini", f"v1beta/models/gemini-x:{method}")
    key = {"key": "AIza-own"} if "?" not in method else None
    answer = await rig.client.post(url, json=body, headers={"x-goog-api-key": rig.secret}, params=key)
    assert answer.status_code == 200
    call, recorded = await rig.call(), rig.model_server.requests[0]
    assert (call.model, call.kind, call.is_streaming) == ("gemini-x", "chat", method != "generateContent")
    assert (call.prompt_tokens, call.completion_tokens, call.reasoning_tokens) == (3, 5 + THOUGHT, THOUGHT)
    assert (recorded.headers["x-goog-api-key"], "key" in recorded.query) == (SECRET, False)


async def test_without_a_report_texts_are_counted_and_sounds_are_not(rig: Rig) -> None:
    body = {"requests": [{"content": {"parts": [{"text": text}]}} for text in ("one two", "three")]}
    headers = {"x-goog-api-key": rig.secret}
    url = rig.url("gemini", "v1beta/models/gemini-embedding:batchEmbedContents")
    assert (await rig.client.post(url, json=body, headers=headers)).status_code == 200
    await rig.openai().audio.transcriptions.create(model="by-the-minute", file=("a.wav", bytes(1000)))
    embedding, audio = await rig.calls(2)
    assert (embedding.kind, embedding.is_estimated, embedding.completion_tokens) == ("embedding", True, 0)
    assert (embedding.prompt_tokens or 0) > 2
    assert (await rig.payload(embedding)).messages == [
        {"role": "user", "content": "one two"},
        {"role": "user", "content": "three"},
    ]
    assert (audio.kind, audio.is_estimated, audio.prompt_tokens, audio.completion_tokens) == (
        "audio",
        False,
        None,
        None,
    )


async def test_bytes_go_through_unchanged_in_both_directions(rig: Rig) -> None:
    body = b' {"model" : "\\u0065cho",\t"n":1.0e0}\n'
    path = "mirror/ab;c=1/%C3%A9?x=%41&tags=t&y=a+b"
    raw = await raw_request(rig, "POST", f"/gateway/lab/openai/{path}", body, "application/json")
    seen = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert seen["path"] == "/v1/mirror/ab;c=1/%C3%A9?x=%41&y=a+b"
    assert (seen["bytes"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert b"x-request-id: req-1\r\n" in raw
    # Compressed bytes stay compressed, and are read all the same.
    tags = {b"x-threadkeeper-tags": "größe, 夜".encode()}
    accepting = {b"authorization": f"Bearer {rig.secret}".encode(), b"accept-encoding": b"br, gzip", **tags}
    async with rig.client.stream(
        "POST", rig.url("openai", "compressed/chat/completions"), json=chat(), headers=accepting
    ) as answer:
        passed = b"".join([piece async for piece in answer.aiter_raw()])
    assert passed[:2] == b"\x1f\x8b"
    assert answer.headers["content-encoding"] == "gzip"
    calls = await rig.calls(2)
    assert (calls[1].prompt_tokens, calls[1].completion_tokens) == (3, 3)
    assert calls[1].tags == ("größe", "夜"), "curl sends such a header as UTF-8"


async def test_our_compression_leaves_an_answer_alone(rig: Rig) -> None:
    headers = {"Authorization": f"Bearer {rig.secret}", "Accept-Encoding": "gzip"}
    long = "word " * 1_000
    asked = {"model": "echo", "messages": [{"role": "user", "content": long}]}
    async with rig.client.stream("POST", rig.url("openai", "chat/completions"), json=asked, headers=headers) as answer:
        passed = b"".join([piece async for piece in answer.aiter_raw()])
    assert "content-encoding" not in answer.headers
    assert json.loads(passed)["choices"][0]["message"]["content"] == f"You said: {long}"
    assert int(answer.headers["content-length"]) == len(passed)


async def test_what_stands_before_pages_does_not_see_a_request_of_a_program(rig: Rig) -> None:
    asked = {"Accept-Language": "fr", "Cookie": "reader_language=de"}
    own = await rig.post("chat/completions", chat(), **asked)
    assert rig.model_server.requests[0].headers["accept-language"] == "fr"
    assert own.headers.get_list("vary") == ["Origin"]
    assert (own.headers["referrer-policy"], own.headers["x-content-type-options"]) == ("same-origin", "nosniff")
    assert "access-control-allow-origin" not in own.headers
    # Programs in browsers are those of other origins.
    origin = {"Origin": "https://other.example"}
    other = await rig.post("chat/completions", chat(), **origin)
    assert other.headers["access-control-allow-origin"] == origin["Origin"]
    assert other.headers["vary"] == "Origin"
    wanted = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = await rig.client.options(rig.url("openai", "chat/completions"), headers=wanted)
    assert (allowed.status_code, allowed.headers["access-control-allow-headers"]) == (200, "x-api-key")
    refused = await rig.client.post(rig.url("openai", "chat/completions"), json=chat(), headers=origin)
    assert (refused.status_code, refused.headers["referrer-policy"]) == (401, "same-origin")
    assert refused.headers["access-control-allow-origin"] == origin["Origin"]
    # Methods that no provider has are answered by the application.
    assert (await rig.client.request("TRACE", rig.url("openai", "chat/completions"))).status_code == 405


async def test_a_page_is_no_page_of_ours_and_what_is_not_read_is_unknown(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await rig.post("page", {})
    assert answer.text == "<script>alert(1)</script>"
    assert "set-cookie" not in answer.headers
    assert "sandbox" in answer.headers["content-security-policy"]
    call = await rig.call()
    assert (call.kind, call.model, call.prompt_tokens, call.total_cost) == ("other", "unknown", None, None)
    assert "the copy of an answer was not read" in caplog.text
    await rig.post("chat/completions", chat("no-usage", stream=False))
    stream = await rig.openai().chat.completions.create(**chat("no-usage", stream=True))
    assert await text_of(stream)
    assert (await rig.calls(3))[-1].is_estimated


async def test_a_caller_that_goes_away_ends_the_call_of_the_provider(rig: Rig) -> None:
    stream = await rig.openai().chat.completions.create(**chat("slow:1000:0.01", stream=True))
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    await stream.close()
    await asyncio.wait_for(rig.model_server.client_left(), 60)
    call = await rig.call()
    assert (call.finish_reason, call.status_code, call.error_kind) == (STOPPED, 200, None)
    assert call.is_estimated
    assert 0 < (call.completion_tokens or 0) < 1_000
    assert rig.model_server.requests[0].left_early


async def test_a_caller_that_does_not_wait_for_the_first_byte_ends_the_call(rig: Rig) -> None:
    asking = asyncio.create_task(rig.post("chat/completions", chat("hang")))
    await until(lambda: _asked(rig))
    asking.cancel()
    await asyncio.wait_for(rig.model_server.client_left(), 60)
    call = await rig.call()
    assert (call.finish_reason, call.status_code, call.prompt_tokens) == (STOPPED, None, None)


async def _asked(rig: Rig) -> bool:
    return bool(rig.model_server.requests)


async def test_a_slow_reader_slows_the_provider_down(rig: Rig) -> None:
    """Back-pressure: what a caller does not read is not gathered in this process."""
    asked = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "word " * 150_000}]}
    async with rig.client.stream(
        "POST", rig.url("openai", "chat/completions"), json=asked, headers={"Authorization": f"Bearer {rig.secret}"}
    ) as answer:
        first = await anext(answer.aiter_raw(1))
        assert first
        sent, before = rig.model_server.ledger, -1
        while before != sent[0].completion_tokens:
            before = sent[0].completion_tokens
            await asyncio.sleep(0.3)
        assert before < 150_000
    await until(lambda: _left(rig))


async def _left(rig: Rig) -> bool:
    return rig.model_server.requests[0].left_early


async def test_an_answer_that_is_read_again_uses_no_tokens(rig: Rig) -> None:
    await rig.client.get(rig.url("openai", "models"), headers={"x-api-key": rig.secret})
    call = await rig.call()
    assert (call.kind, call.prompt_tokens, call.total_cost) == ("other", None, None)
    # To cancel an answer in the background names no model; its answer does.
    await rig.post("responses/resp_1/cancel", {})
    cancelled = (await rig.calls(2))[-1]
    assert (cancelled.kind, cancelled.model, cancelled.prompt_tokens) == ("other", "echo", None)


async def test_a_call_appears_among_the_usage_with_tags_and_cost(rig: Rig, browser_of: Browser) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(0), Decimal(1_000_000)))
    await rig.openai(default_query={"tags": "night"}).chat.completions.create(**chat())
    call, ada = await rig.call(), await browser_of("admin")
    night, day = [(await ada.get(f"/usage/calls?tag={tag}")).text for tag in ("night", "day")]
    link = f"/usage/calls/{call.id}"
    assert (link in night, link in day) == (True, False)
    # A dollar for each token of the answer.
    assert f"${call.completion_tokens}.00" in night.partition(link)[2].partition("</tr>")[0]
    page = (await ada.get(link)).text
    assert [name for name in ("night", "The lab", "uma", f"${call.completion_tokens}.00") if name not in page] == []


async def test_the_example_of_the_documentation_runs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    assert len(example.split("\n\n")) == 2
    assert len([line for line in example.splitlines() if line]) == 5
    for shown, real in (("https://chat.example.com", str(rig.client.base_url)), ("tk_…", rig.secret)):
        assert shown in example
        example = example.replace(shown, real)
    monkeypatch.setenv("NO_PROXY", "*")
    variables: dict[str, Any] = {}
    await asyncio.to_thread(exec, example, variables)
    variables["client"].close()
    assert capsys.readouterr().out == "You said: Hello\n"
    call = await rig.call()
    assert (call.model, call.tags) == ("gpt-4o-mini", ("night", "batch"))


async def test_the_lines_of_curl_in_the_readme_run(rig: Rig) -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = [one.split("```")[0] for one in page.split("```sh\n") if one.startswith("ask()")]
    assert len(example.splitlines()) == 5
    scopes = ["gateway", "threads:read", "threads:write"]
    _, secret = await rig.layer.create_api_key("curl", scopes, user="uma", project="lab")
    here = str(rig.client.base_url).rstrip("/")
    lines = example.replace("http://127.0.0.1:8000", here)
    assert here in lines
    values = {"KEY": secret, "NO_PROXY": "*"}
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/sh", "-c", lines], env=os.environ | values, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    decoder, rest, said = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        one, end = decoder.raw_decode(rest)
        said.append(one)
        rest = rest[end:].lstrip()
    assert said[0]["choices"][0]["message"]["content"] == "You said: Hello"
    assert [one["data"][0]["content"] for one in said[1:]] == ["What is a data layer?", "And why do I need one?"]
    assert len({message["interaction_id"] for one in said[1:] for message in one["data"]}) == 1
    call = await rig.call()
    assert (call.model, call.tags) == ("gpt-4o-mini", ("night",))


async def test_frameworks_do_little_for_a_call_and_its_row_is_seldom_copied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts how often functions of Python are called, of which the CPU time of a call consists: other work on the
    machine does not change that."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            code = frame.f_code
            counts.update(part for part in _PARTS if f"/{part}/" in code.co_filename)
            counts["copies"] += code is replace.__code__ and isinstance(frame.f_locals["obj"], LlmCall)

    # On a busy machine, calls would wait and get a newer time.
    monkeypatch.setattr("threadkeeper.gateway.calls._A_MOMENT_SECONDS", 60.0)
    await rig.post("chat/completions", chat())
    await rig.calls(1)
    sys.setprofile(note)
    try:
        for number in range(2, 12):
            await rig.post("chat/completions", chat())
            await rig.calls(number)
    finally:
        sys.setprofile(None)
    frameworks, ours = (sum(counts[part] for part in parts) for parts in (_FRAMEWORKS, _OURS))
    # It was 1.4 behind the middlewares and routers of pages, 0.19 inside of FastAPI, and is 0.05.
    assert frameworks <= 0.1 * ours, counts
    # Ended, and with its tokens.
    assert counts["copies"] <= 20, counts
