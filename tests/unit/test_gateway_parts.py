"""The parts of the gateway that need no connection: addresses, headers, endpoints, answers, copies and frames."""

import gzip
import json
import zlib
from typing import Any

import pytest

from threadkeeper.chat.model import PartialUsage, TokenUsage
from threadkeeper.gateway.answers import Answer, answer_of
from threadkeeper.gateway.copies import Copy
from threadkeeper.gateway.endpoints import Dialect, endpoint_of
from threadkeeper.gateway.headers import caller_library, caller_system, request_headers, response_headers
from threadkeeper.gateway.questions import question_of, question_of_form
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.targets import target_of
from threadkeeper.gateway.usage_frames import UsageFrames, with_usage

BASE = "https://api.example.com/v1"


@pytest.mark.parametrize(
    ("path", "query", "address"),
    [
        ("chat/completions", "", f"{BASE}/chat/completions"),
        ("chat/completions", "tags=a,b&api-version=1%2F2&x=%41", f"{BASE}/chat/completions?api-version=1%2F2&x=%41"),
        ("models/meta%2Fllama", "", f"{BASE}/models/meta%2Fllama"),
        ("models/gemini:streamGenerateContent", "alt=sse", f"{BASE}/models/gemini:streamGenerateContent?alt=sse"),
        ("", "target_path=embeddings", f"{BASE}/embeddings"),
        ("embeddings", "target_path=%2Fembeddings", f"{BASE}/embeddings"),
        ("", "", BASE),
        ("files/a%20b/", "", None),
        ("files/", "", f"{BASE}/files/"),
    ],
)
def test_a_path_and_a_query_go_through_as_they_were_sent(path: str, query: str, address: str | None) -> None:
    if address is None:
        with pytest.raises(Refused):
            target_of(BASE, path, query)
        return
    assert str(target_of(BASE, path, query).url) == address


def test_the_parameters_of_prompt_sail_are_taken_out_of_the_query() -> None:
    target = target_of(BASE, "chat/completions", "a=1&tags=x,+y&ai_model_version=gpt-4o-2024&tags=z&b=%C3%A9")
    assert str(target.url) == f"{BASE}/chat/completions?a=1&b=%C3%A9"
    assert (target.tags, target.model_version) == (("x", "y", "z"), "gpt-4o-2024")


@pytest.mark.parametrize(
    "path",
    [
        "../admin",
        "a/../../admin",
        "a/./b",
        "%2e%2e/admin",
        "%2E%2e%2Fadmin",
        "a%2f..%2fb",
        "%252e%252e/admin",
        "..;/admin",
        "..%3b/admin",
        "//evil.example/x",
        "http://evil.example/x",
        "a//b",
        "a%2F%2Fb",
        "..%5Cadmin",
        "a\\b",
        "a%00b",
        "a%0d%0aX-Injected:1",
        "a%25252525b",
        "a#b",
        "ä",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        target_of(BASE, path, "")
    assert (refused.value.status, refused.value.kind) == (400, "path_refused")
    with pytest.raises(Refused):
        target_of(BASE, "", f"target_path={path.replace('%', '%25').replace('#', '%23')}")


def test_a_query_cannot_begin_another_request() -> None:
    for query in ("a=1 HTTP/1.1", "a=\r\nHost: evil", "a=#b"):
        with pytest.raises(Refused):
            target_of(BASE, "models", query)
    with pytest.raises(Refused, match="differ"):
        target_of(BASE, "models", "target_path=embeddings")


def sent(headers: dict[str, str], **given: Any) -> dict[str, str]:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    values = {"key": "sk-provider", "style": "bearer", "passes_key": False, "accept_encoding": None, **given}
    return dict(request_headers(raw, **values))


def test_the_key_of_the_provider_takes_the_place_of_the_callers() -> None:
    caller = {"Authorization": "Bearer tk_ours", "X-Api-Key": "sk-own", "Cookie": "access_token=1", "X-Custom": "1"}
    assert sent(caller) == {"x-custom": "1", "authorization": "Bearer sk-provider"}
    for style in ("x-api-key", "api-key", "x-goog-api-key"):
        assert sent(caller, style=style) == {"x-custom": "1", style: "sk-provider"}
    assert sent(caller, key=None) == {"x-custom": "1"}
    # Only where the project says so, and never a key of ours.
    assert sent(caller, key=None, passes_key=True) == {"x-api-key": "sk-own", "x-custom": "1"}


def test_headers_of_a_connection_and_of_our_own_are_not_passed_on() -> None:
    caller = {
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "TE": "trailers",
        "Transfer-Encoding": "chunked",
        "Host": "us",
        "X-Forwarded-For": "10.0.0.1",
        "X-Threadkeeper-Tags": "a",
        "OpenAI-Organization": "org",
    }
    assert sent(caller, key=None) == {"openai-organization": "org"}


@pytest.mark.parametrize(
    ("accepted", "passed"),
    [("gzip, deflate, br, zstd", "gzip, deflate"), ("br;q=1.0, gzip;q=0.5", "gzip;q=0.5"), ("br", "identity")],
)
def test_only_codings_that_can_be_read_are_accepted(accepted: str, passed: str) -> None:
    assert sent({}, key=None, accept_encoding=accepted) == {"accept-encoding": passed}


def test_a_provider_sets_nothing_for_our_own_origin() -> None:
    upstream = {
        b"Content-Type": b"text/html",
        b"Set-Cookie": b"access_token=1",
        b"Location": b"https://evil.example",
        b"Connection": b"close, X-Hop",
        b"X-Hop": b"1",
        b"Content-Length": b"5",
        b"X-Request-Id": b"1",
        b"X-Split": b"a\nSet-Cookie: b=1",
    }
    found = dict(response_headers(upstream.items(), keeps_length=True))
    assert {name: found[name] for name in found if name.startswith((b"content-t", b"content-l", b"x-"))} == {
        b"content-type": b"text/html",
        b"content-length": b"5",
        b"x-request-id": b"1",
        b"x-content-type-options": b"nosniff",
    }
    assert found[b"content-security-policy"] == b"default-src 'none'; sandbox"
    assert b"content-length" not in dict(response_headers(upstream.items(), keeps_length=False))
    assert not {b"set-cookie", b"location", b"connection", b"x-split"} & found.keys()


def test_library_and_system_are_read_from_the_headers() -> None:
    official = {"user-agent": "OpenAI/Python 3.52.0", "x-stainless-os": "Linux"}
    assert (caller_library(official), caller_system(official)) == ("OpenAI/Python 3.52.0", "Linux")
    browser = {"user-agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko)"}
    assert caller_system(browser) == "Mac OS X 10"
    assert (caller_library({}), caller_system({}), caller_system({"user-agent": "curl/8"})) == (None, None, None)


@pytest.mark.parametrize(
    ("host", "path", "kind", "dialect", "style", "model"),
    [
        ("api.openai.com", "/v1/chat/completions", "chat", "openai", "bearer", None),
        ("api.openai.com", "/v1/completions", "completion", "openai", "bearer", None),
        ("api.openai.com", "/v1/responses", "chat", "responses", "bearer", None),
        ("api.openai.com", "/v1/responses/resp_1", "other", "openai", "bearer", None),
        ("api.openai.com", "/v1/embeddings", "embedding", "openai", "bearer", None),
        ("api.openai.com", "/v1/images/generations", "image", "openai", "bearer", None),
        ("api.openai.com", "/v1/audio/transcriptions", "audio", "openai", "bearer", None),
        ("api.openai.com", "/v1/moderations", "moderation", "openai", "bearer", None),
        ("api.openai.com", "/v1/threads/t/messages", "other", "openai", "bearer", None),
        ("api.anthropic.com", "/v1/messages", "chat", "anthropic", "x-api-key", None),
        ("127.0.0.1", "/v1/messages", "chat", "anthropic", "x-api-key", None),
        ("api.anthropic.com", "/v1/messages/count_tokens", "other", "anthropic", "x-api-key", None),
        ("api.anthropic.com", "/v1/chat/completions", "chat", "openai", "bearer", None),
        ("n.openai.azure.com", "/openai/deployments/d/chat/completions", "chat", "openai", "api-key", "d"),
        ("127.0.0.1", "/openai/deployments/d/embeddings", "embedding", "openai", "api-key", "d"),
        ("g.googleapis.com", "/v1beta/models/g-2:generateContent", "chat", "gemini", "x-goog-api-key", "g-2"),
        ("x", "/v1beta/models/g-2:streamGenerateContent", "chat", "gemini", "x-goog-api-key", "g-2"),
        ("x", "/v1beta/models/g-2:batchEmbedContents", "embedding", "gemini", "x-goog-api-key", "g-2"),
        ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions", "chat", "openai", "bearer", None),
    ],
)
def test_the_path_says_what_is_asked(
    host: str, path: str, kind: str, dialect: str, style: str, model: str | None
) -> None:
    found = endpoint_of(host, path)
    assert (found.kind, found.dialect, found.key_style, found.model) == (kind, dialect, style, model)
    assert endpoint_of(host, path, "GET").kind == "other"


def read(dialect: Dialect, *events: Any) -> Answer:
    answer = answer_of(dialect)
    for event in events:
        answer.take(event)
    answer.end()
    return answer


def test_anthropics_message_start_and_message_delta_are_merged() -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 5, "output_tokens": 1}
    begin = {"type": "message_start", "message": {"model": "claude-x", "usage": start, "content": []}}
    answer = read(
        "anthropic",
        begin,
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}},
        {"type": "message_stop"},
    )
    assert (answer.model, answer.text, answer.reason) == ("claude-x", "Hello", "end_turn")
    assert answer.usage == TokenUsage(45, 12, 30)
    # One token of the first event is not the answer.
    assert read("anthropic", begin).usage == PartialUsage(45, cached_tokens=30)
    assert read("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}).error


def test_the_usage_of_responses_is_in_the_completed_event() -> None:
    usage: dict[str, Any] = {"input_tokens": 9, "output_tokens": 7, "total_tokens": 16}
    usage |= {"input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 3}}
    done: dict[str, Any] = {"model": "gpt-x", "status": "completed", "usage": usage, "output": []}
    answer = read(
        "responses",
        {"type": "response.created", "response": {"model": "gpt-x", "status": "in_progress", "usage": None}},
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.completed", "response": done},
    )
    assert (answer.model, answer.text, answer.reason) == ("gpt-x", "Hi", "completed")
    assert answer.usage == TokenUsage(9, 7, 4, 3)
    whole = read("responses", {**done, "object": "response", "output": [{"content": [{"text": "Hi"}]}]})
    assert (whole.text, whole.usage) == ("Hi", TokenUsage(9, 7, 4, 3))
    failed = {"status": "failed", "error": {"code": "server_error", "message": "Broken"}}
    error = read("responses", {"type": "response.failed", "response": failed}).error
    assert error is not None
    assert error.code == "server_error"


def test_gemini_counts_thought_beside_the_answer() -> None:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 5, "thoughtsTokenCount": 20, "totalTokenCount": 33}
    parts = [{"text": "Hmm", "thought": True}, {"text": "Hello"}]
    event = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}
    for events in ([event], [[event]]):
        answer = read("gemini", *events)
        assert (answer.text, answer.reason, answer.usage) == ("Hello", "STOP", TokenUsage(8, 25, None, 20))
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8}}
    assert read("gemini", blocked).reason == "SAFETY"


@pytest.mark.parametrize("dialect", ["openai", "responses", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "event",
    [None, 1, "text", [], {}, [[]], {"choices": 5}, {"choices": [3]}, {"usage": "many"}, {"type": "message_start"},
     {"type": "message", "content": 3, "usage": {"input_tokens": -1}}, {"candidates": [{"content": "x"}]},
     {"type": "response.completed", "response": {"output": [4]}}, {"usageMetadata": {"promptTokenCount": True}},
     {"usageMetadata": {"promptTokenCount": 10**13, "candidatesTokenCount": 1}},
     {"type": "message", "usage": {"input_tokens": 10**13, "output_tokens": 10**13}}],
)  # fmt: skip
def test_what_cannot_be_read_is_unknown(dialect: Dialect, event: Any) -> None:
    answer = read(dialect, event)
    assert answer.usage is None
    assert answer.text == ""


def test_tool_calls_are_the_last_message_if_there_is_no_text() -> None:
    def delta(**function: str) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    assert read("openai", delta(name="find", arguments=""), delta(arguments='{"a"'), delta(arguments=":1}")).text == (
        'find({"a":1})\n'
    )


WHOLE = {
    "model": "gpt-x",
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


def copy_of(encoding: str = "", kind: str = "application/json", status: int = 200) -> Copy:
    return Copy(answer_of("openai"), status=status, content_type=kind, content_encoding=encoding)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
async def test_a_compressed_body_is_read(encoding: str, encode: Any, size: int) -> None:
    copy, body = copy_of(encoding), encode(json.dumps(WHOLE).encode())
    for at in range(0, len(body), size):
        copy.feed(body[at : at + size])
    await copy.finish()
    assert (copy.problem, copy.answer.text, copy.answer.usage) == (None, "Hello", TokenUsage(5, 2))


@pytest.mark.parametrize(
    ("encoding", "kind", "body"),
    [("br", "application/json", b"\x0b"), ("gzip", "application/json", b"no gzip"), ("", "text/html", b"<html>Log in")],
)
async def test_a_body_that_cannot_be_read_is_told(encoding: str, kind: str, body: bytes) -> None:
    copy = copy_of(encoding, kind)
    copy.feed(body)
    await copy.finish()
    assert copy.problem is not None
    assert copy.answer.usage is None


async def test_a_body_that_grows_without_end_is_not_kept() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    copy = copy_of("gzip")
    copy.feed(bomb)
    await copy.finish()
    assert copy.problem is not None


@pytest.mark.parametrize("ending", ["\n\n", "\r\n\r\n", "\r\r", "\n", ""])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_the_last_frame_counts_without_its_empty_line(ending: str, size: int) -> None:
    chunk = {"model": "gpt-x", "choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}
    last = {"model": "gpt-x", "choices": [], "usage": WHOLE["usage"]}
    line = "\n" if ending in ("", "\n") else ending[: len(ending) // 2]
    stream = f"data: {json.dumps(chunk)}{line}{line}data: {json.dumps(last)}{ending}".encode()
    copy = copy_of(kind="text/event-stream; charset=utf-8")
    for at in range(0, len(stream), size):
        copy.feed(stream[at : at + size])
    await copy.finish()
    assert (copy.answer.text, copy.answer.usage) == ("Hello", TokenUsage(5, 2))


async def test_an_error_is_read_from_its_body_or_its_words() -> None:
    for body, words in ((b'{"error": {"code": "quota", "message": "Used up"}}', "Used up"), (b"Busy", "Busy")):
        copy = copy_of(kind="text/plain", status=429)
        copy.feed(body)
        await copy.finish()
        assert copy.answer.error is not None
        assert words in copy.answer.error.message


def frame(choices: list[Any], usage: Any = None, end: str = "\n\n") -> bytes:
    return f"data: {json.dumps({'choices': choices, 'usage': usage})}{end}".encode()


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_the_extra_frame_is_taken_out_and_nothing_else(end: str, size: int) -> None:
    text, extra = frame([{"delta": {"content": "Hi"}}], end=end), frame([], WHOLE["usage"], end)
    others = [text, frame([], None, end), f": ping{end}".encode(), text]
    done = f"data: [DONE]{end}".encode()
    stream = b"".join([*others, extra, done])
    frames, found = UsageFrames(), b""
    for at in range(0, len(stream), size):
        found += frames.feed(stream[at : at + size])
    assert found + frames.finish() == b"".join([*others, done])


def test_an_extra_frame_without_its_empty_line_is_taken_out_too() -> None:
    frames = UsageFrames()
    text = frame([{"delta": {"content": "Hi"}}])
    assert frames.feed(text + frame([], WHOLE["usage"], "")) + frames.finish() == text
    assert frames.feed(b"data: {") + frames.finish() == b"data: {"


def test_usage_is_asked_for_only_if_the_caller_does_not() -> None:
    body = b' {"model":"m", "stream":true, "temperature":1.0e-1}'
    asked = with_usage(body, json.loads(body))
    assert asked == b' {"stream_options":{"include_usage":true},"model":"m", "stream":true, "temperature":1.0e-1}'
    options: dict[str, Any] | None
    question: dict[str, Any]
    for options in (None, {}, {"include_usage": False, "other": 1}):
        question = {"stream": True, "stream_options": options}
        found = json.loads(with_usage(json.dumps(question).encode(), question) or b"{}")
        assert found["stream_options"] == {**(options or {}), "include_usage": True}
    for question in ({"stream": False}, {}, {"stream": True, "stream_options": {"include_usage": True}}):
        assert with_usage(json.dumps(question).encode(), question) is None


def test_questions_are_read_in_every_dialect() -> None:
    def asked(path: str, body: Any) -> tuple[str | None, list[Any], int | None, bool]:
        found = question_of(endpoint_of("x", path), body, path=path)
        contents = [(message["role"], message["content"]) for message in found.messages]
        return found.model, contents, found.max_tokens, found.is_streaming

    picture: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Look"}, picture]
    chat = {"model": "m", "messages": [{"role": "user", "content": parts}], "max_tokens": 5, "stream": True, "n": 2}
    assert asked("/v1/chat/completions", chat) == ("m", [("user", parts)], 10, True)
    responses = {"model": "m", "instructions": "Be brief", "input": "Hi", "max_output_tokens": 7}
    assert asked("/v1/responses", responses) == ("m", [("system", "Be brief"), ("user", "Hi")], 7, False)
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "Hi"}]
    anthropic: Any = {"model": "c", "system": "Be", "messages": [{"role": "user", "content": content}], "max_tokens": 3}
    assert asked("/v1/messages", anthropic) == (
        "c",
        [("system", "Be"), ("user", [picture, parts[0] | {"text": "Hi"}])],
        3,
        False,
    )
    gemini: Any = {
        "contents": [{"role": "model", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 4},
    }
    assert asked("/v1beta/models/g:streamGenerateContent", gemini) == ("g", [("assistant", "Hi")], 4, True)
    assert asked("/v1/embeddings", {"model": "e", "input": ["a", "b"]})[1] == [("user", "a"), ("user", "b")]
    assert asked("/v1/chat/completions", ["no object"]) == (None, [], None, False)
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--'
    assert question_of_form(endpoint_of("x", "/v1/audio/transcriptions"), form).model == "whisper-1"
    several = form + form.replace(b"whisper-1", b"gpt-image-1")
    assert question_of_form(endpoint_of("x", "/v1/images/edits"), several).model is None


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"max_completion_tokens": 1, "max_tokens": 100}, 100),
        ({"max_tokens": 100.0}, 100),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "100"}, None),
        ({"max_tokens": 1e400}, None),
        ({"max_tokens": -1}, None),
        ({"generation_config": {"max_output_tokens": 7}}, 7),
    ],
)
def test_the_largest_maximum_of_a_question_counts(body: dict[str, Any], most: int | None) -> None:
    assert question_of(endpoint_of("x", "/v1/chat/completions"), body).max_tokens == most
