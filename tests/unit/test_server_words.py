"""What the words of servers mean, with the words of each server in the table and some of servers without a row."""

from __future__ import annotations

from typing import Any

import pytest

from threadkeeper.chat.providers.reported_errors import ReportedError, read_error
from threadkeeper.chat.providers.server_sayings import ROWS, Row
from threadkeeper.chat.providers.server_words import meaning_of, token_limit, wait_seconds


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.server}-{row.meaning}-{row.words[:30]}")
def test_the_words_of_every_row_are_understood(row: Row) -> None:
    assert meaning_of(row.status, "", row.words) == row.meaning
    assert row.source


@pytest.mark.parametrize(
    "meaning", ["too_long", "quota", "rate_limit", "not_found", "roles", "filtered", "picture_refused", "no_pictures"]
)
def test_every_meaning_has_at_least_three_servers(meaning: str) -> None:
    assert len({row.server for row in ROWS if row.meaning == meaning}) >= 3


@pytest.mark.parametrize(
    ("status", "words", "meaning"),
    [
        (400, "Your request exceeded model token limit: 8192", "too_long"),
        (400, "Prompt contains 36000 tokens, too large for model with 32768 maximum context length", "too_long"),
        (
            400,
            "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576",
            "too_long",
        ),
        (413, "Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit 6000", "too_long"),
        (413, "<html>413 Request Entity Too Large</html>", "too_long"),
        (402, "This request requires more credits, or fewer max_tokens.", "quota"),
        (403, "用户额度不足", "quota"),
        (429, "Please try again later", "rate_limit"),
        (503, "The engine is currently overloaded, please try again later", "server"),
        (404, "Not Found", "not_found"),
        (400, "foo/bar is not a valid model ID", "not_found"),
        (400, "System messages are not supported by this model", "roles"),
        (400, "Only user and assistant roles are supported!", "roles"),
        (400, "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant", "roles"),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", "filtered"),
        (400, "Request blocked by moderation", "filtered"),
        (400, "image dimensions exceed max allowed size: 8000 pixels", "picture_refused"),
        (400, "Failed to load image or audio file", "picture_refused"),
        (400, "zai-org/GLM-4.6 is not a multimodal model", "no_pictures"),
        (400, "This model does not support images", "no_pictures"),
        (400, "messages[0].content must be a string", "no_pictures"),
        (400, "API key not valid. Please pass a valid API key.", "auth"),
        (401, "The model does not exist", "auth"),
        (403, "Project does not have access to model.", "auth"),
        (400, "Something else is wrong", "refused"),
        (422, "", "refused"),
        (500, "The server had an error while processing your request.", "server"),
    ],
)
def test_servers_without_a_row_are_understood(status: int, words: str, meaning: str) -> None:
    assert meaning_of(status, "", words) == meaning


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("The input token count (218152) exceeds the maximum number of tokens allowed (65536).", 65536),
        ("This model's maximum prompt length is 131072 but the request contains 136973 tokens.", 131072),
        ("prompt is too long: 202,095 tokens > 200,000 maximum", 200000),
        ("gpt-4o-2024-08-06: maximum context length is 8192 tokens, you sent 9000", 8192),
        ("Context size has been exceeded.", None),
        ("HTTP 400: too many tokens", None),
    ],
)
def test_the_window_is_read_from_the_words(words: str, limit: int | None) -> None:
    assert token_limit(words) == limit


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please retry after 12 seconds.", 12.0),
        ("Please try again in 7.66s.", 7.66),
        ("Please try again in 120ms.", 0.12),
        ("Please retry in 2m.", 120.0),
        ("Please try again later.", None),
    ],
)
def test_the_wait_is_read_from_the_words(words: str, seconds: float | None) -> None:
    assert wait_seconds(words) == seconds


_LOC = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
_FORBIDDEN = "stream_options: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (
            {"error": {"message": "No.", "type": "t", "param": "messages.0.content", "code": "c"}},
            ReportedError("c", "No.", ("messages", "0", "content")),
        ),
        ({"detail": [_LOC]}, ReportedError("", _FORBIDDEN, ("stream_options",))),
        ({"detail": "Not Found"}, ReportedError("", "Not Found")),
        (
            {"object": "error", "message": {"detail": [_LOC]}, "type": "invalid_request_error", "code": None},
            ReportedError("invalid_request_error", _FORBIDDEN, ("stream_options",)),
        ),
        ([{"error": {"code": 400, "message": "Too long.", "status": "X"}}], ReportedError("400", "Too long.")),
        ({"code": "invalid", "error": "Too long."}, ReportedError("invalid", "Too long.")),
        ({"success": False, "errors": [{"code": 5, "message": "No."}]}, ReportedError("5", "No.")),
        ({"object": "error", "message": "No.", "code": 400}, ReportedError("400", "No.")),
        ({"Message": "No."}, ReportedError("", "No.")),
        ({"detail": ["a", 5]}, ReportedError("", "a; 5")),
        ({"error": True, "message": "No."}, ReportedError("", "No.")),
        ({"code": 1301, "error": {"message": "No."}}, ReportedError("1301", "No.")),
        ({"error_code": 336003, "error_msg": "No."}, ReportedError("336003", "No.")),
        ({"base_resp": {"status_code": 1008, "status_msg": "No."}}, ReportedError("1008", "No.")),
        ({"detail": {"error": {"message": "No."}}}, ReportedError("", "No.")),
        (
            {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "Too long."}}},
            ReportedError("400", 'Provider returned error {"raw": "Too long."}'),
        ),
        ("plain", ReportedError("", "plain")),
        (None, ReportedError()),
        ([], ReportedError()),
        ({"error": None}, ReportedError()),
        ({"error": [], "detail": {"x": 1}}, ReportedError("", '{"x": 1}')),
    ],
)
def test_the_bodies_of_all_servers_are_read(body: Any, read: ReportedError) -> None:
    assert read_error(body) == read
