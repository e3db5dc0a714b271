"""What servers send beside the protocol: first chunks, reports of usage, errors in a stream, ends, and whole bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal

import pytest

from datalayer.errors import StorageUnavailable
from tests.support.model_server import API_KEY, ModelServer
from tests.support.odd_streams import BEGINNING, BODIES, CHOICES, CONTENTS, ENDS, FIRST_CHUNKS, USAGES
from tests.unit.test_answer import Sink
from tests.unit.test_model import ECHO, failure, read, request_for
from threadkeeper.chat.answer import stream_answer
from threadkeeper.chat.model import (
    AnswerPart,
    Delta,
    Model,
    ModelError,
    PartialUsage,
    TokenUsage,
)
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.endings import stored_endings
from threadkeeper.chat.providers.openai_answers import StreamReading, read_completion
from threadkeeper.chat.providers.reported_errors import find_error
from threadkeeper.chat.providers.reported_usage import UsageReading
from threadkeeper.chat.providers.thought import joined
from threadkeeper.pricing.rates import Rates


@pytest.fixture
async def model(model_server: ModelServer) -> AsyncIterator[Model]:
    connected = create_model(api_key=API_KEY, base_url=model_server.base_url, timeout_seconds=60)
    yield connected
    await connected.close()


def wire(*events: object) -> bytes:
    """The events as they stand on the wire; a text as it is."""
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in events).encode()


def text_of(*parts: AnswerPart) -> str:
    return joined(parts)[1]


def token(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "once"}, "finish_reason": "stop"}]}


# First chunks and names


async def test_every_first_chunk_is_read(model: Model, subtests: pytest.Subtests) -> None:
    for name in FIRST_CHUNKS:
        with subtests.test(name):
            text, finish = await read(model, request_for(f"first:{name}:gpt-4o-mini"))
            assert (text, finish.reason, finish.model) == (ECHO, "stop", "gpt-4o-mini")
            assert finish.usage is not None


async def test_the_name_of_the_model_is_known_while_it_answers(model: Model) -> None:
    request = request_for("first:azure:gpt-4o-mini")
    async with aclosing(model.stream(request)) as events:
        await anext(events)
        assert request.attempts[-1].answered_by == "gpt-4o-mini"


# Usage


async def test_every_report_of_usage_is_read(
    model: Model, model_server: ModelServer, subtests: pytest.Subtests
) -> None:
    for name, shape in USAGES.items():
        with subtests.test(name):
            model_server.forget()
            text, finish = await read(model, request_for(f"usage:{name}"))
            assert text == ECHO
            if not shape.is_report:
                assert finish.usage is None
                continue
            (billed,) = model_server.ledger
            assert finish.usage is not None
            assert finish.usage.prompt_tokens == billed.prompt_tokens
            assert finish.usage.completion_tokens == billed.completion_tokens
            assert finish.partial is None


def report(_has_text: object = True, **usage: object) -> TokenUsage | PartialUsage | None:
    reading = UsageReading()
    reading.take({"usage": usage}, has_text=bool(_has_text))
    return reading.report()


def test_the_difference_to_the_total_is_output() -> None:
    sent: dict[str, object] = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "reasoning_tokens": 94}
    assert report(**sent) == TokenUsage(32, 103, None, 94)
    # At 3 and 15 dollars a million, not 0.000231.
    assert Rates("own", Decimal(3), Decimal(15), Decimal(3)).costs(32, 103).total == Decimal("0.001641")
    del sent["reasoning_tokens"]
    assert report(**sent) == TokenUsage(32, 103)
    assert report(**{**sent, "completion_tokens": 0}) == TokenUsage(32, 103)
    assert report(**{**sent, "completion_tokens": None}) == TokenUsage(32, 103)
    assert report(**{**sent, "completion_tokens": -9}) == TokenUsage(32, 103)
    assert report(**{**sent, "prompt_tokens": 0}) == TokenUsage(126, 9)


def test_what_contradicts_itself_is_no_report_and_the_rest_is_kept() -> None:
    known: dict[str, object] = {"prompt_tokens": 32, "completion_tokens": 9}
    assert report(**known, total_tokens=40) is None
    assert report(completion_tokens=9, total_tokens=8) is None
    assert report(prompt_tokens=9, total_tokens=8) is None
    # Without a total, thought may stand beside the output, and cached tokens beside the prompt.
    assert report(**known, reasoning_tokens=94) == PartialUsage(32, 103, reasoning_tokens=94)
    assert report(**known, cached_tokens=500) == PartialUsage(None, 9)
    # With one, prompt and output are what they are.
    assert report(**known, total_tokens=41, reasoning_tokens=94) == PartialUsage(32, 9)
    assert report(**known, total_tokens=41, cached_tokens=500) == PartialUsage(32, 9)
    assert report(**known, total_tokens=541, cached_tokens=500) == TokenUsage(532, 9, 500)
    assert report(total_tokens=41) == PartialUsage(total_tokens=41)
    assert report(prompt_tokens=32) == PartialUsage(32)
    assert report(prompt_tokens=32, total_tokens=32) == PartialUsage(32)
    assert report(prompt_tokens=10**12, completion_tokens=True, total_tokens=[1]) is None


def test_zero_tokens_are_a_report_only_where_nothing_was_written() -> None:
    zeros: dict[str, object] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert report(**zeros) is None
    assert report(prompt_tokens=32, completion_tokens=0, total_tokens=32) == PartialUsage(32)
    assert report(False, prompt_tokens=32, completion_tokens=0, total_tokens=32) == TokenUsage(32, 0)
    assert report(False, prompt_tokens=32, total_tokens=32) == TokenUsage(32, 0)


def test_details_are_read_under_every_name() -> None:
    known: dict[str, object] = {"prompt_tokens": 32, "completion_tokens": 9}
    assert report(**known, prompt_tokens_details={"cached_tokens": 8}) == TokenUsage(32, 9, 8)
    assert report(**known, prompt_cache_hit_tokens=8) == TokenUsage(32, 9, 8)
    assert report(**known, prompt_tokens_details=None, cached_tokens=-8) == TokenUsage(32, 9)
    assert report(**known, completion_tokens_details={"reasoning_tokens": 4}) == TokenUsage(32, 9, None, 4)


def test_missing_numbers_are_counted() -> None:
    counted = TokenUsage(30, 10)
    assert PartialUsage(32).completed(counted) == TokenUsage(32, 10)
    assert PartialUsage(None, 9).completed(counted) == TokenUsage(30, 9)
    assert PartialUsage(total_tokens=135).completed(counted) == TokenUsage(30, 105)
    # The text has at least some tokens, although a picture may count for more here than there.
    assert PartialUsage(total_tokens=25).completed(counted) == TokenUsage(15, 10)
    assert PartialUsage(total_tokens=5).completed(counted) == TokenUsage(0, 5)
    assert PartialUsage(None, 9, cached_tokens=31, reasoning_tokens=10).completed(counted) == TokenUsage(30, 9)


def test_usage_that_precedes_the_end_of_the_text_does_not_count_it() -> None:
    reading = UsageReading()
    reading.take({"usage": {"prompt_tokens": 32, "completion_tokens": 1, "total_tokens": 33}}, has_text=False)
    reading.take({}, has_text=True)
    assert reading.report() == PartialUsage(32)
    assert not reading.comes_last
    reading.take({"usage": {"completion_tokens": 9}}, has_text=True)
    assert reading.report() == TokenUsage(32, 9)
    assert not reading.comes_last
    reading.take({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}, has_text=False)
    assert reading.report() == TokenUsage(32, 9)


# Ends and errors

# From a server of which nothing is known, only [DONE] says that these are complete.
DOUBTFUL = ["done", "reason-null-done", "reason-null-text-done", "bare-done"]


async def test_an_end_that_is_none_cuts_the_answer_off_with_the_servers_words(
    model: Model, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    await read(model, request_for("echo"))
    for name, end in ENDS.items():
        if end.says is None:
            continue
        with subtests.test(name):
            caplog.clear()
            sink = Sink()
            outcome = await stream_answer(model, request_for(f"ends:{name}"), sink, thread_id="thread-7")
            assert outcome.text == sink.text == "".join(BEGINNING)
            assert outcome.status == "cut"
            assert outcome.error is not None
            assert outcome.error.kind == end.kind
            assert end.says in outcome.error.detail
            assert end.says in caplog.text


async def test_a_complete_answer_stays_complete(model: Model, subtests: pytest.Subtests) -> None:
    # The doubtful ones first, as long as the server has not shown that it ends its answers otherwise.
    for name in (*DOUBTFUL, *(name for name, end in ENDS.items() if end.says is None)):
        with subtests.test(name):
            outcome = await stream_answer(model, request_for(f"ends:{name}"), Sink())
            assert (outcome.text, outcome.status, outcome.error) == ("".join(BEGINNING), "complete", None)


@pytest.mark.parametrize("line", [b"upstream went away", b": an upstream error"])
async def test_lines_outside_of_the_protocol_make_an_end_doubtful(line: bytes) -> None:
    """Also of a server of which nothing is known, and although a comment follows that means nothing."""
    reading = StreamReading("")
    reading.feed(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
    reading.feed(line + b"\n\n: ping\n\ndata: [DONE]\n\n")
    reading.end()
    assert reading.failure is not None
    assert (reading.failure.kind, "upstream" in reading.failure.detail) == ("cut", True)


@pytest.mark.parametrize("known", ["echo", "no-usage", "ends:usage-only"])
async def test_a_server_that_ended_one_answer_in_words_has_to_end_all_so(model: Model, known: str) -> None:
    assert (await read(model, request_for("ends:done")))[0] == "".join(BEGINNING)
    await read(model, request_for(known))
    assert (await failure(model, request_for("ends:done")))[1].kind == "cut"


async def test_an_answer_that_is_not_streamed_does_not_show_how_streams_end(model: Model) -> None:
    """A small server may write a finish_reason there and none in its streams."""
    await model.complete(request_for("echo"))
    await read(model, request_for("body:completion"))
    assert (await read(model, request_for("ends:done")))[0] == "".join(BEGINNING)


async def test_usage_with_the_last_token_does_not_end_an_answer() -> None:
    chunk = (
        b'data: {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}\n\n'
    )
    reading = StreamReading("")
    assert reading.feed(chunk + b"data: [DONE]\n\n") == [Delta("a")]
    assert reading.end() == []
    assert (reading.failure, reading.is_unproven) == (None, True)
    reading.refuse_end()
    assert reading.failure is not None
    assert (reading.failure.kind, reading.failure.usage) == ("cut", TokenUsage(5, 1))


@pytest.mark.parametrize(("known", "kind"), [(True, "cut"), (False, None)])
async def test_what_earlier_processes_know_of_a_server_decides_about_its_first_answer(
    model_server: ModelServer, known: bool, kind: str | None
) -> None:
    asked = []

    async def sent_endings(provider: str) -> bool:
        asked.append(provider)
        return known

    model = create_model(base_url=model_server.base_url, timeout_seconds=60, sent_endings=sent_endings)
    outcome = await stream_answer(model, request_for("ends:done"), Sink())
    assert (outcome.error and outcome.error.kind) == kind
    assert asked == ["127.0.0.1"]
    await read(model, request_for("echo"))
    await failure(model, request_for("ends:done"))
    assert len(asked) == 1, "this process knows it by now"
    await model.close()


async def test_an_end_is_not_believed_while_the_stored_calls_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def has_sent_finish_reasons(self, provider: str) -> bool:
            raise StorageUnavailable("the database is away")

    assert await stored_endings(Broken())("somebody")
    assert "the database is away" in caplog.text


@pytest.mark.parametrize("wire", [b'data: {"choices": ', b"", b": ", b"error: ", b"event: error\ndata: "])
def test_deeply_nested_json_and_broken_text_fail_the_answer_and_nothing_else(wire: bytes) -> None:
    for payload in (b"[" * 200_000, b'"\xff\xfe"'):
        reading = StreamReading("")
        reading.feed(wire + payload + b"\n\n")
        reading.end()
        assert reading.failure is not None


@pytest.mark.parametrize("junk", [b"[done]", b"\x00", b"null null", b'{"choices": 7}'])
def test_what_comes_after_the_end_breaks_no_complete_answer(junk: bytes) -> None:
    reading = StreamReading("")
    whole = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    assert reading.feed(whole + b"data: " + junk + b"\n\n") == [Delta("a")]
    reading.end()
    assert reading.failure is None
    reading = StreamReading("")
    reading.feed(whole.replace(b'"stop"', b"null") + b"data: " + junk + b"\n\n")
    assert reading.failure is not None


def test_choices_of_the_older_protocol_are_read() -> None:
    reading = StreamReading("")
    chunk = b'data: {"choices": [{"index": 0, "text": "%s", "finish_reason": %s}]}\n\n'
    assert reading.feed(chunk % (b"a", b"null") + chunk % (b"b", b"null") + chunk % (b"", b'"stop"')) == [Delta("ab")]
    reading.end()
    assert reading.failure is None


async def test_content_is_read_in_every_form(model: Model) -> None:
    for name in CONTENTS:
        text, finish = await read(model, request_for(f"content:{name}"))
        assert (text, finish.reason) == (ECHO, "stop")
        assert (await model.complete(request_for(f"content:{name}"))).text == ECHO


async def test_only_the_first_choice_is_the_answer(
    model: Model, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    """An index that counts the chunks names no choices."""
    for name in CHOICES:
        with subtests.test(name):
            caplog.clear()
            text, finish = await read(model, request_for(f"choices:{name}"))
            assert (text, finish.reason) == (ECHO, "stop")
            has_others = name in ("beside", "before", "between", "three-between", "after")
            assert ("sent several choices" in caplog.text) == has_others


def choice(index: object, text: str, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([choice(0, "a"), choice(1, "b"), choice(2, "c", "stop")], "abc"),
        ([choice(number, "x") for number in range(20)] + [choice(0, "", "stop")], "x" * 20),
        ([choice(0, "a"), choice(0, "b"), choice(1, "c"), choice(1, "d"), choice(0, "e", "stop")], "abe"),
        ([choice(0, "a", "stop"), choice(1, "b", "length")], "a"),
        ([choice(1, "a"), choice(1, "b", "stop")], "ab"),
        ([choice(5, "a"), choice(0, "b"), choice(5, "c", "stop")], "ac"),
        ([choice(0, "a"), choice(7, "b"), choice(0, "c", "stop")], "ac"),
        ([choice(True, "a"), choice("", "b"), choice([], "c", "stop")], "abc"),
    ],
)
def test_indexes_tell_choices_from_counted_chunks(chunks: list[object], text: str) -> None:
    reading = StreamReading("")
    events = [*reading.feed(wire(*chunks)), *reading.end()]
    assert text_of(*events) == text
    assert reading.failure is None
    assert reading.finish().reason == "stop"


def test_what_is_held_back_is_kept_if_the_stream_breaks() -> None:
    reading = StreamReading("")
    events = reading.feed(wire(choice(0, "a"), choice(1, "b")))
    assert text_of(*events, *reading.rest()) == "ab"


def test_usage_of_zeros_is_no_report_while_text_is_held_back() -> None:
    reading = StreamReading("")
    reading.feed(wire(choice(0, ""), choice(1, "b")))
    reading.feed(wire({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}))
    reading.end()
    assert reading.finish().usage is None


async def test_a_stream_that_was_not_asked_for_is_a_whole_answer(model: Model) -> None:
    """Titles and questions about documents are asked without a stream."""
    completion = await model.complete(request_for("streams"))
    assert (completion.text, completion.finish.reason) == (ECHO, "stop")
    assert completion.finish.model == "streams"


@pytest.mark.parametrize(
    "body",
    [
        wire(token("on"), {"choices": [{"delta": {"content": "ce"}, "finish_reason": "stop"}]}, "[DONE]"),
        json.dumps(WHOLE).encode() + b"\n\ndata: [DONE]\n\n",
        b": keep-alive\n\n" + json.dumps(WHOLE, indent=1).encode(),
    ],
)
def test_a_completion_with_events_around_it_is_read(body: bytes) -> None:
    completion = read_completion(body, "")
    assert (completion.text, completion.finish.reason) == ("once", "stop")


@pytest.mark.parametrize("end", [{"error": {"message": "the GPU is on fire"}}, {"choices": []}])
def test_a_stream_that_was_not_asked_for_can_fail(end: object) -> None:
    with pytest.raises(ModelError) as failed:
        read_completion(wire(token("a"), end), "")
    assert failed.value.kind == ("server" if "error" in str(end) else "cut")


# NDJSON


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("end", ["", "\n", "[DONE]\n", "data: [DONE]\n\n"])
@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n", " \n"])
def test_a_stream_of_ndjson_is_read(size: int, end: str, between: str) -> None:
    stream = between.join([json.dumps(token("on")), json.dumps(token("ce")), json.dumps(STOP)]) + "\n" + end
    reading, body = StreamReading(""), stream.encode()
    events = [one for at in range(0, len(body), size) for one in reading.feed(body[at : at + size])]
    assert text_of(*events, *reading.end()) == "once"
    assert (reading.failure, reading.is_unproven, reading.has_ending) == (None, False, True)


def test_an_error_or_an_early_end_of_ndjson_cuts_the_answer_off() -> None:
    for end, kind in (({"error": {"message": "the GPU is on fire"}}, "server"), ({"choices": []}, "cut")):
        reading = StreamReading("")
        events = reading.feed(f"{json.dumps(token('a'))}\n{json.dumps(end)}\n".encode())
        assert [*events, *reading.end()] == [Delta("a")]
        assert reading.failure is not None
        assert reading.failure.kind == kind


def test_a_line_without_choices_is_a_completion_if_it_comes_first() -> None:
    """A filter has emptied it, and the server bills it. Behind chunks, it is the usage of a stream."""
    line = json.dumps({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 7}}) + "\n"
    reading = StreamReading("")
    reading.feed(line.encode())
    reading.end()
    assert reading.failure is not None
    assert (reading.failure.kind, reading.failure.usage) == ("server", TokenUsage(40, 7))
    reading = StreamReading("")
    reading.feed(f"{json.dumps(token('a'))}\n{json.dumps(STOP)}\n{line}".encode())
    reading.end()
    assert reading.failure is None
    assert reading.finish().usage == TokenUsage(40, 7)


def test_an_error_event_keeps_words_without_a_field() -> None:
    reading = StreamReading("")
    reading.feed(b'event: error\n{"message": "the GPU is on fire"}\n\n')
    assert reading.failure is not None
    assert "the GPU is on fire" in reading.failure.detail


@pytest.mark.parametrize(
    "stream",
    [
        # Proxies wrap a stream once more.
        wire(f"data: {json.dumps(token('once'))}", f"data:data: {json.dumps(STOP)}", "data: [DONE]"),
        wire(token("once"), STOP, '"[DONE]"'),
        wire("ping", ": OPENROUTER PROCESSING", token("once"), "[HEARTBEAT]", "keep-alive", STOP, "[DONE]"),
        # Messages in place of deltas: pieces, the whole text each time, and the whole text again at the end.
        wire(*({"choices": [{"message": {"content": piece}}]} for piece in ("on", "ce")), STOP),
        wire(*({"choices": [{"message": {"content": text}}]} for text in ("on", "once", "once")), STOP),
        wire({"choices": [{"delta": [], "finish_reason": None}], "usage": [], "error": []}, token("once"), STOP),
        # Azure: that its filter failed is no error of the answer.
        wire({"choices": [{"delta": {"content": "once"}, "content_filter_result": {"error": {"code": "x"}}}]}, STOP),
    ],
)
def test_a_wrapped_or_unusual_stream_is_read(stream: bytes) -> None:
    for size in (1, 7, 10_000):
        reading = StreamReading("")
        events = [one for at in range(0, len(stream), size) for one in reading.feed(stream[at : at + size])]
        assert text_of(*events, *reading.end()) == "once"
        assert (reading.failure, reading.is_unproven) == (None, False)


def test_a_repeated_word_of_streamed_messages_is_no_repetition_of_the_text() -> None:
    reading = StreamReading("")
    pieces = ({"choices": [{"message": {"content": piece}}]} for piece in ("ha", "ha", " ", "ha"))
    assert reading.feed(wire(*pieces, STOP)) == [Delta("haha ha")]


@pytest.mark.parametrize(
    "stream",
    [
        wire({"response": "Hello"}, {"response": " there"}, "[DONE]"),
        wire({"type": "response.output_text.delta", "delta": "Hi"}),
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "Hi"}}\n\n',
        b'{"message": {"content": "Hi"}, "done": false}\n{"message": {"content": ""}, "done": true}\n',
    ],
)
def test_a_stream_of_another_protocol_is_an_error_with_its_words(stream: bytes) -> None:
    """Cloudflare's, OpenAI's Responses, Anthropic's and Ollama's own."""
    reading = StreamReading("")
    assert [*reading.feed(stream), *reading.end()] == []
    assert reading.failure is not None
    assert "the server said: {" in reading.failure.detail


@pytest.mark.parametrize("event", [{"service_tier": "default"}, {"defaults": {"tier": 1}}])
def test_an_event_with_a_default_makes_no_end_doubtful(event: object) -> None:
    reading = StreamReading("")
    reading.feed(wire(token("a"), event, "[DONE]"))
    reading.end()
    assert reading.failure is None


@pytest.mark.parametrize(
    "trouble", [{"exception": "CUDA"}, {"fault": {"string": "x"}}, {"kind": "ServerFault"}, {"status": "failed"}]
)
def test_trouble_in_an_event_makes_an_end_doubtful(trouble: object) -> None:
    reading = StreamReading("")
    reading.feed(wire(token("a"), trouble, "[DONE]"))
    reading.end()
    assert reading.failure is not None
    assert reading.failure.kind == "cut"
    # An answer with its own end is whole.
    reading = StreamReading("")
    reading.feed(wire(token("a"), STOP, trouble, "[DONE]"))
    reading.end()
    assert reading.failure is None


@pytest.mark.parametrize(
    "content", ['{"a": 1}', "7", "true", '[{"type": "text", "text": 7}]', '{"parts": [{"text": true}]}', '[[{"a": 1}]]']
)
def test_content_of_another_type_is_an_unreadable_event(content: str) -> None:
    reading = StreamReading("")
    assert reading.feed(f'data: {{"choices": [{{"delta": {{"content": {content}}}}}]}}\n\n'.encode()) == []
    assert reading.failure is not None
    assert reading.failure.kind == "server"


def test_the_servers_words_are_short_and_without_keys() -> None:
    secret = "secret-key-1"
    for wire in (f"error: {secret} {'x' * 9_000}\n\n", f"{secret} {'x' * 9_000}\n\n", f": {secret} {'x' * 900}\n\n"):
        reading = StreamReading(secret)
        reading.feed(wire.encode())
        reading.end()
        assert reading.failure is not None
        assert secret not in reading.failure.detail
        assert "xxx" in reading.failure.detail
        assert len(reading.failure.detail) <= 400


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": {"content": "x"}}], "error": None},
        {"choices": [{"delta": {}}], "object": "chat.completion.chunk", "error": {}, "error_code": "0"},
        {"error": {"message": "", "code": None}, "choices": []},
        {"choices": [{"message": {"role": "assistant", "content": "x"}}], "base_resp": {"status_code": 0}},
        {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": False},
        {"type": "ping"},
        {"type": "status", "message": "in the queue"},
        {"code": 0, "message": "ok"},
        {"code": 200, "msg": "success"},
        {"status": 200, "msg": "the stream begins"},
        {"code": 20000, "message": "ok"},
        {"x_groq": {"id": "req_1"}, "choices": [{"delta": {}}]},
        {"usage": {"prompt_tokens": 1}},
        [],
        None,
        "words",
        7,
    ],
)
def test_what_is_no_error_is_not_taken_for_one(event: object) -> None:
    assert find_error(event) is None


# Whole bodies


async def test_every_body_is_read_under_any_content_type(
    model: Model, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    """A whole answer of a server that does not stream is an answer; of any other body, the log has the words."""
    for name, body in BODIES.items():
        with subtests.test(name):
            if body.says is None:
                text, finish = await read(model, request_for(f"body:{name}"))
                assert (text, finish.reason, finish.model) == ("A whole answer", "stop", "body")
                assert finish.usage == TokenUsage(40, 3)
                continue
            caplog.clear()
            outcome = await stream_answer(model, request_for(f"body:{name}"), Sink(), thread_id="thread-7")
            assert (outcome.text, outcome.status) == ("", "error")
            assert outcome.error is not None
            assert outcome.error.kind == body.kind
            assert body.says in caplog.text


def test_a_completion_without_a_finish_reason_is_whole() -> None:
    reading = StreamReading("")
    reading.feed(b'{"choices": [{"message": {"content": "whole"}, "finish_reason": ""}]}')
    assert reading.end() == [Delta("whole")]
    assert reading.failure is None


def test_a_completion_with_an_empty_report_has_none() -> None:
    body = '{"model": "", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": %s}'
    zeros = read_completion((body % '{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}').encode(), "")
    assert (zeros.finish.usage, zeros.finish.partial, zeros.finish.model) == (None, None, None)
    half = read_completion((body % '{"prompt_tokens": 32, "completion_tokens": 0}').encode(), "")
    assert (half.finish.usage, half.finish.partial) == (None, PartialUsage(32))


def test_a_server_that_repeats_its_whole_text_at_the_end_is_read_once() -> None:
    reading = StreamReading("")
    reading.feed(b'data: {"choices": [{"delta": {"content": "once"}}]}\n\n')
    assert reading.feed(b'data: {"choices": [{"message": {"content": "once"}, "finish_reason": "stop"}]}\n\n') == []
    assert reading.complete


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail": "the GPU is on fire"}', "the GPU is on fire"),
        (b'{"object": "error", "message": "the GPU is on fire", "code": 500}', "the GPU is on fire"),
        (b'{"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}', "finish_reason is error"),
        (b"", "not a completion"),
    ],
)
def test_an_error_in_place_of_a_completion_is_read(body: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read_completion(body, "")


def test_a_token_with_half_a_character_is_read() -> None:
    """Some servers cut an emoji in two; the JSON parser for most tokens refuses that."""
    reading = StreamReading("no-key")
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "hi \\ud83d"}}]}\n\n'
    assert reading.feed(event) == [Delta("hi \ud83d")]
    assert reading.failure is None
