"""What the gateway reads: the answers of providers, and the questions of callers."""

import time
from typing import Any

import pytest

from threadkeeper.chat.messages import picture_count
from threadkeeper.chat.model import PartialUsage, TokenUsage
from threadkeeper.gateway.answer import Answer
from threadkeeper.gateway.answers import answer_of
from threadkeeper.gateway.dialects import Dialect
from threadkeeper.gateway.endpoints import endpoint_of
from threadkeeper.gateway.questions import question_of, question_of_form


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


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        ("openai", [{"model": "m", "service_tier": "flex", "choices": []}, {"choices": [], "service_tier": None}]),
        ("responses", [{"type": "response.completed", "response": {"status": "completed", "service_tier": "flex"}}]),
        ("anthropic", [{"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1, "service_tier": "flex"}}]),
    ],
)
def test_the_service_tier_that_answered_is_read(dialect: Dialect, events: list[Any]) -> None:
    answer = read(dialect, *events)
    assert (answer.service_tier, answer.unread) == ("flex", 0)


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


def test_the_interactions_of_gemini_are_read_whole_and_streamed() -> None:
    usage = {"total_input_tokens": 8, "total_output_tokens": 5, "total_thought_tokens": 20, "total_cached_tokens": 2}
    steps = [
        {"type": "thought", "summary": [{"type": "text", "text": "Hmm"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "Hello"}]},
    ]
    whole = {"id": "int_1", "model": "g", "status": "completed", "steps": steps, "usage": usage}
    deltas: list[dict[str, Any]] = [
        {"type": "thought_summary", "content": {"type": "text", "text": "Hmm"}},
        {"type": "text", "text": "Hel"},
        {"type": "text", "text": "lo"},
    ]
    events: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": {"id": "int_1", "model": "g", "status": "in_progress"}},
        *({"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas),
        {"event_type": "interaction.completed", "interaction": whole},
    ]
    for said in ([whole], events):
        answer = read("interactions", *said)
        assert (answer.model, answer.id, answer.text, answer.reason) == ("g", "int_1", "Hello", "completed")
        assert (answer.usage, answer.thought_characters) == (TokenUsage(8, 25, 2, 20), 3)
    failed = read("interactions", {"event_type": "error", "error": {"code": "RESOURCE_EXHAUSTED", "message": "No"}})
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("RESOURCE_EXHAUSTED", "No")


@pytest.mark.parametrize("dialect", ["openai", "responses", "anthropic", "gemini", "interactions"])
@pytest.mark.parametrize(
    "event",
    [None, 1, "text", [], {}, [[]], {"choices": 5}, {"choices": [3]}, {"usage": "many"}, {"type": "message_start"},
     {"type": "message", "content": 3, "usage": {"input_tokens": -1}}, {"candidates": [{"content": "x"}]},
     {"type": "response.completed", "response": {"output": [4]}}, {"usageMetadata": {"promptTokenCount": True}},
     {"usageMetadata": {"promptTokenCount": 10**13, "candidatesTokenCount": 1}},
     {"steps": [4]}, {"event_type": "step.delta"}, {"event_type": "interaction.completed", "interaction": 7},
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


def responses_item(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": item.pop("at"), "item": item}


TOOL = {"type": "function_call", "name": "find", "arguments": '{"a":1}'}
USED = {"type": "tool_use", "id": "t", "name": "find"}


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        ("responses", [{"object": "response", "status": "completed", "output": [TOOL]}]),
        (
            "responses",
            [
                {"type": "response.output_item.added", "output_index": 1, "item": {**TOOL, "arguments": ""}},
                {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a"'},
                {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": ":1}"},
            ],
        ),
        ("responses", [responses_item(at=0, **TOOL), {"type": "response.completed", "response": {"output": [TOOL]}}]),
        ("anthropic", [{"type": "message", "content": [{**USED, "input": {"a": 1}}], "stop_reason": "tool_use"}]),
        (
            "anthropic",
            [
                {"type": "content_block_start", "index": 1, "content_block": {**USED, "input": {}}},
                *(
                    {"type": "content_block_delta", "index": 1, "delta": {"partial_json": part}}
                    for part in ('{"a"', ":1}")
                ),
            ],
        ),
        ("gemini", [{"candidates": [{"content": {"parts": [{"functionCall": {"name": "find", "args": {"a": 1}}}]}}]}]),
        ("interactions", [{"steps": [{"type": "function_call", "name": "find", "arguments": {"a": 1}}]}]),
        (
            "interactions",
            [
                {"event_type": "step.start", "index": 1, "step": {"type": "function_call", "name": "find"}},
                *(
                    {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": part}}
                    for part in ('{"a"', ":1}")
                ),
            ],
        ),
    ],
)
def test_the_tools_of_an_answer_without_words_are_its_last_message(dialect: Dialect, events: list[Any]) -> None:
    assert read(dialect, *events).text.replace(" ", "") == 'find({"a":1})\n'


REFUSED = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "I cannot"}}


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        ("openai", {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]}),
        ("openai", {"choices": [{"delta": {"refusal": "I cannot"}}]}),
        ("responses", {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot"}]}]}),
        ("responses", {"type": "response.refusal.delta", "delta": "I cannot"}),
        ("anthropic", {"type": "message", "content": [], **REFUSED}),
        ("anthropic", {"type": "message_delta", "delta": REFUSED}),
        ("gemini", {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "I cannot"}}),
        ("gemini", {"candidates": [{"finishReason": "SAFETY", "finishMessage": "I cannot"}]}),
    ],
)
def test_the_words_of_a_refusal_are_the_last_message(dialect: Dialect, event: Any) -> None:
    assert read(dialect, event).text == "I cannot"


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        ("responses", [{"output": [
            {"type": "reasoning", "summary": [{"text": "Hm"}], "content": [{"type": "reasoning_text", "text": "m"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
        ]}]),
        ("responses", [
            {"type": "response.reasoning_text.delta", "delta": "Hm"},
            {"type": "response.reasoning_summary_text.delta", "delta": "m"},
            {"type": "response.output_text.delta", "delta": "Hello"},
            {"type": "response.completed", "response": {"output": [{"type": "reasoning", "summary": [{"text": "m"}]}]}},
        ]),
        ("anthropic", [{"type": "message", "content": [{"thinking": "Hmm"}, {"type": "text", "text": "Hello"}]}]),
        ("gemini", [{"candidates": [{"content": {"parts": [{"text": "Hmm", "thought": True}, {"text": "Hello"}]}}]}]),
    ],
)  # fmt: skip
def test_a_thought_is_counted_and_is_not_what_the_model_says(dialect: Dialect, events: list[Any]) -> None:
    answer = read(dialect, *events)
    assert (answer.text, answer.thought_characters) == ("Hello", 3)


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
    interaction = {"model": "g", "system_instruction": "Be brief", "input": "Hi", "stream": True}
    limited = interaction | {"generation_config": {"max_output_tokens": 6}}
    assert asked("/v1beta/interactions", limited) == ("g", [("system", "Be brief"), ("user", "Hi")], 6, True)
    texts: Any = [{"content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    assert asked("/v1beta/models/g:batchEmbedContents", {"requests": texts})[1] == [("user", "a"), ("user", "b")]
    assert asked("/v1beta/models/i:predict", {"instances": [{"prompt": "A cat"}, 3]})[1] == [("user", "A cat")]
    assert asked("/v1/embeddings", {"model": "e", "input": ["a", "b"]})[1] == [("user", "a"), ("user", "b")]
    assert asked("/v1/chat/completions", ["no object"]) == (None, [], None, False)
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--'
    assert question_of_form(endpoint_of("x", "/v1/audio/transcriptions"), form).model == "whisper-1"
    prompt = form.replace(b"model", b"prompt").replace(b"whisper-1", b"A hat\r\non a cat")
    found = question_of_form(endpoint_of("x", "/v1/images/edits"), prompt)
    assert [message["content"] for message in found.messages] == ["A hat\r\non a cat"]
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


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n'
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-transcribe\r\n'
    b'--x\r\nContent-Disposition: form-data; name="stream"\r\n\r\n%s\r\n--x--'
)


@pytest.mark.parametrize(("value", "streams"), [(b"true", True), (b"True", True), (b"false", False)])
def test_a_form_can_ask_for_a_stream(value: bytes, streams: bool) -> None:
    found = question_of_form(endpoint_of("x", "/v1/audio/transcriptions"), FORM % value)
    assert (found.model, found.is_streaming) == ("gpt-4o-transcribe", streams)


@pytest.mark.parametrize("name", [b"prompt", b"model"])
def test_a_form_of_names_alone_takes_time_in_proportion_to_its_length(name: bytes) -> None:
    endpoint = endpoint_of("x", "/v1/images/edits")

    def seconds(names: int) -> float:
        form, spent = b"name=%s\r\n" % name * names, []
        for _ in range(3):
            begin = time.thread_time()
            question_of_form(endpoint, form)
            spent.append(time.thread_time() - begin)
        return min(spent)

    # Four times as long, where each name read the rest of the form again.
    assert seconds(4_000) < 3 * seconds(2_000)


@pytest.mark.parametrize(
    ("path", "part", "kept"),
    [
        (
            "/v1/chat/completions",
            {"type": "input_audio", "input_audio": {"data": "AAAAAAAA", "format": "wav"}},
            "(input_audio: wav, 6 bytes)",
        ),
        (
            "/v1/chat/completions",
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            "(file: application/pdf, 3 bytes)",
        ),
        ("/v1/responses", {"type": "input_file", "file_id": "file-1"}, "(input_file: file-1)"),
        (
            "/v1/messages",
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
            "(document: application/pdf, 3 bytes)",
        ),
        ("/v1beta/models/g:generateContent", {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}, None),
        ("/v1beta/models/g:generateContent", {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, 1),
        ("/v1/chat/completions", {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, 1),
    ],
)
def test_only_pictures_count_as_pictures(path: str, part: dict[str, Any], kept: str | int | None) -> None:
    message = {"role": "user", "parts": [part]} if "gemini" in path or "v1beta" in path else {"content": [part]}
    found = question_of(endpoint_of("x", path), {"contents" if "parts" in message else "messages": [message]})
    assert picture_count(found.messages) == (kept if isinstance(kept, int) else 0)
    if isinstance(kept, str):
        assert found.messages[0]["content"] == kept
