"""The parts of the gateway that need no connection: addresses, headers, endpoints, answers, copies and frames."""

import gzip
import json
import zlib
from typing import Any

import pytest

from threadkeeper.chat.model import TokenUsage
from threadkeeper.gateway import copies
from threadkeeper.gateway.answers import answer_of
from threadkeeper.gateway.copies import Copy
from threadkeeper.gateway.dialects import Dialect
from threadkeeper.gateway.endpoints import endpoint_of
from threadkeeper.gateway.headers import caller_library, caller_system, request_headers, response_headers
from threadkeeper.gateway.refusals import Refused
from threadkeeper.gateway.targets import target_of
from threadkeeper.gateway.usage_frames import UsageFrames, with_usage
from threadkeeper.gateway.v1.requests import demand_question

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
        ("x", "/v1beta/interactions", "chat", "interactions", "x-goog-api-key", None),
        ("x", "/interactions", "other", "openai", "bearer", None),
        ("x", "/v1beta/tunedModels/own-1:generateContent", "chat", "gemini", "x-goog-api-key", "tunedModels/own-1"),
        ("n.openai.azure.com", "/OpenAI/Deployments/My-D/Chat/Completions", "chat", "openai", "api-key", "My-D"),
    ],
)
def test_the_path_says_what_is_asked(
    host: str, path: str, kind: str, dialect: str, style: str, model: str | None
) -> None:
    found = endpoint_of(host, path)
    assert (found.kind, found.dialect, found.key_style, found.model) == (kind, dialect, style, model)
    assert endpoint_of(host, path, "GET").kind == "other"


@pytest.mark.parametrize(
    ("path", "header", "style", "dialect"),
    [
        ("/v1/models", "x-goog-api-key", "x-goog-api-key", "gemini"),
        ("/v1/models", "anthropic-version", "x-api-key", "anthropic"),
        ("/v1/models", "api-key", "api-key", "openai"),
        ("/v1/models", "x-api-key", "bearer", "openai"),
        # The path tells more.
        ("/v1/chat/completions", "api-key", "bearer", "openai"),
    ],
)
def test_the_client_tells_where_a_provider_expects_its_key(path: str, header: str, style: str, dialect: str) -> None:
    found = endpoint_of("proxy.example.com", path, "GET", {header: "tk_1"})
    assert (found.kind, found.key_style, found.dialect) == ("other", style, dialect)
    for host, known in (
        ("api.openai.com", path),
        ("openrouter.ai", f"/api{path}"),
        ("generativelanguage.googleapis.com", "/v1beta/openai/files"),
    ):
        told = endpoint_of(host, known, "GET", {header: "tk_1"})
        assert (told.key_style, told.dialect) == ("bearer", "openai"), "the host tells"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"prompt": "Hi"}),
        ("responses", {"prompt": {"id": "pmpt_1"}}),
        ("responses", {"previous_response_id": "resp_1", "input": None}),
        ("responses", {"conversation": "conv_1"}),
        ("completions", {"prompt_embeds": "AAAA"}),
        ("completions", {"prompt": None}),
        ("completions", {"prompt": {"prompt_string": "Look", "multimodal_data": ["AAAA"]}}),
        ("embeddings", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("embeddings", {"content": "Hi"}),
    ],
)
def test_a_question_may_be_in_other_fields(path: str, body: dict[str, Any]) -> None:
    demand_question(path, body)
    name = {"chat/completions": "messages", "completions": "prompt"}.get(path, "input")
    for wrong in ({}, {**body, name: 5}):
        with pytest.raises(Refused) as refused:
            demand_question(path, wrong)
        assert refused.value.param == name


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
        await copy.feed(body[at : at + size])
    await copy.finish()
    assert (copy.problem, copy.answer.text, copy.answer.usage) == (None, "Hello", TokenUsage(5, 2))


@pytest.mark.parametrize(
    ("encoding", "kind", "body"),
    [("br", "application/json", b"\x0b"), ("gzip", "application/json", b"no gzip"), ("", "text/html", b"<html>Log in")],
)
async def test_a_body_that_cannot_be_read_is_told(encoding: str, kind: str, body: bytes) -> None:
    copy = copy_of(encoding, kind)
    await copy.feed(body)
    await copy.finish()
    assert copy.problem is not None
    assert copy.answer.usage is None


async def test_a_body_that_grows_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid body is read up to the bound, and not above it."""
    body = gzip.compress(json.dumps({**WHOLE, "padding": "x" * 2_000_000}).encode())
    for bound, usage in ((3_000_000, TokenUsage(5, 2)), (1_000_000, None)):
        monkeypatch.setattr(copies, "_MOST_DECODED", bound)
        copy = copy_of("gzip")
        await copy.feed(body)
        await copy.finish()
        assert (copy.answer.usage, copy.problem is None) == (usage, usage is not None)


@pytest.mark.parametrize("ending", ["\n\n", "\r\n\r\n", "\r\r", "\n", ""])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_the_last_frame_counts_without_its_empty_line(ending: str, size: int) -> None:
    chunk = {"model": "gpt-x", "choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}
    last = {"model": "gpt-x", "choices": [], "usage": WHOLE["usage"]}
    line = "\n" if ending in ("", "\n") else ending[: len(ending) // 2]
    stream = f"data: {json.dumps(chunk)}{line}{line}data: {json.dumps(last)}{ending}".encode()
    copy = copy_of(kind="text/event-stream; charset=utf-8")
    for at in range(0, len(stream), size):
        await copy.feed(stream[at : at + size])
    await copy.finish()
    assert (copy.answer.text, copy.answer.usage) == ("Hello", TokenUsage(5, 2))


async def test_an_error_is_read_from_its_body_or_its_words() -> None:
    for body, words in ((b'{"error": {"code": "quota", "message": "Used up"}}', "Used up"), (b"Busy", "Busy")):
        copy = copy_of(kind="text/plain", status=429)
        await copy.feed(body)
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


async def test_a_stream_without_lines_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_MOST_BYTES", 200_000)
    for piece in (b"x" * 50_000, b"data: 1\n" * 5_000):
        copy = copy_of(kind="text/event-stream")
        for _ in range(20):
            await copy.feed(piece)
        assert copy.problem is not None
        await copy.finish()
        assert copy.answer.usage is None


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_long_body_is_read_in_a_thread(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_threads: list[str] = []

    async def to_thread(work: Any) -> None:
        in_threads.append(encoding)
        work()

    monkeypatch.setattr("threadkeeper.gateway.copies.asyncio.to_thread", to_thread)
    long = json.dumps({**WHOLE, "padding": "x" * 10_000_000}).encode()
    body = gzip.compress(long) if encoding else long
    assert copies.is_long(body, encoding)
    assert not copies.is_long(body[:3_000], encoding)
    copy = copy_of(encoding)
    await copy.feed(body)
    await copy.finish()
    assert (in_threads, copy.answer.text) == ([encoding], "Hello")


@pytest.mark.parametrize("dialect", ["openai", "responses", "anthropic", "gemini"])
def test_a_refusal_has_the_form_of_the_providers_errors(dialect: Dialect) -> None:
    body = json.loads(Refused(502, "unreachable", "Nobody is there.").body(dialect))
    if dialect == "gemini":
        assert (body["error"]["code"], body["error"]["status"]) == (502, "UNAVAILABLE")
    else:
        assert (body["type"], body["error"]["type"], body["error"]["code"]) == ("error", "unreachable", "unreachable")
    assert body["error"]["message"] == "Nobody is there."
