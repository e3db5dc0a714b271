"""What the words of servers mean, with the words of each server in the table and some of servers without a row."""

from __future__ import annotations

from typing import Any

import pytest

from threadkeeper.chat.providers.reported_errors import ReportedError, read_error
from threadkeeper.chat.providers.server_sayings import ROWS, Row
from threadkeeper.chat.providers.server_words import longest_answer, meaning_of, token_limit, wait_seconds


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.server}-{row.meaning}-{row.words[:30]}")
def test_the_words_of_every_row_are_understood(row: Row) -> None:
    assert meaning_of(row.status, "", row.words) == row.meaning
    assert row.source


@pytest.mark.parametrize(
    "meaning",
    [
        *("too_long", "quota", "rate_limit", "not_found", "wrong_address", "roles"),
        *("filtered", "picture_refused", "no_pictures"),
    ],
)
def test_every_meaning_has_at_least_three_servers(meaning: str) -> None:
    assert len({row.server for row in ROWS if row.meaning == meaning}) >= 3


@pytest.mark.parametrize(
    ("status", "words", "meaning"),
    [
        (400, "Your request exceeded model token limit: 8192", "too_long"),
        (400, "total tokens 150000 exceeds the model's limit of 131072", "too_long"),
        (400, "Token limit exceeded: 150000 > 131072", "too_long"),
        (400, "对话内容过长，请缩短后再试", "too_long"),
        (400, "API Key not found. Please pass a valid API key.", "auth"),
        (400, "无效的令牌", "auth"),
        (400, "The API deployment for this resource does not exist. If you created it a moment ago, wait", "not_found"),
        (400, "Not found the model moonshot-v9 or Permission denied", "not_found"),
        (400, "Unable to access model x. Please visit the list of supported models.", "not_found"),
        (400, "The requested model 'x' is not supported by any provider you have enabled.", "not_found"),
        (400, "could not find real modelID for x", "not_found"),
        (400, "Invocation of model ID x with on-demand throughput isn't supported.", "not_found"),
        (400, "This is not a chat model and thus not supported in the v1/chat/completions endpoint.", "not_found"),
        (400, "This model is only supported in v1/responses and not in v1/chat/completions.", "not_found"),
        (410, "The model was shut down.", "not_found"),
        (400, "The content you provided or machine outputted is blocked.", "filtered"),
        (400, "您的账户已达到速率限制，请您控制请求频率", "rate_limit"),
        (429, "您当前使用该API的并发数过高，请降低并发", "rate_limit"),
        (400, "The model is not a VLM (Vision Language Model). Please use text-only prompts.", "no_pictures"),
        (400, "Cannot process image: model lacks vision capabilities", "no_pictures"),
        (400, "System message must be at the beginning.", "roles"),
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
        (404, "Not Found", "wrong_address"),
        (405, "No.", "wrong_address"),
        (404, "Not Found: the model small", "not_found"),
        (400, "This model only supports text inputs", "no_pictures"),
        (429, "You have hit your monthly spend limit", "quota"),
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
        (400, "Prompt 超长", "too_long"),
        (400, "prompt tokens too long", "too_long"),
        (400, "the max input characters is 20000", "too_long"),
        (429, "Too many tokens, please wait before trying again.", "rate_limit"),
        (429, "Too many tokens per day, please wait before trying again.", "rate_limit"),
        (
            400,
            "Unable to submit request because the input token count is 40000 but model only supports up to"
            " 32768. Reduce the input token count and try again.",
            "too_long",
        ),
        (400, "Prompt length 9000 is greater than max_seq_len 8192", "too_long"),
        (400, "Request prompt has 9000 tokens in total, larger than the model input length limit 8192.", "too_long"),
        (400, "Request body too large for gpt-4o model. Max size: 8000 tokens.", "too_long"),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens).", "too_long"),
        (
            400,
            "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with"
            " context length of only 4096 tokens",
            "too_long",
        ),
        (400, "Too many input tokens. Max input tokens: 128000, request input token count: 150000", "too_long"),
        (400, "Range of input length should be [1, 30720]", "too_long"),
        (422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", "too_long"),
        (
            400,
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            "too_long",
        ),
        (403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", "quota"),
        (
            429,
            "exceeded_current_quota_error Your account org-x is suspended, please check your plan and billing details",
            "quota",
        ),
        (403, "Sorry, your account balance is insufficient", "quota"),
        (
            400,
            "You have reached your specified API usage limits. You will regain access on 2026-01-01 at 00:00 UTC.",
            "quota",
        ),
        (
            403,
            "AllocationQuota.FreeTierOnly The free tier of the model has been exhausted. If you wish to continue"
            ' access the model on a paid basis, please disable the "use free tier only" mode',
            "quota",
        ),
        (429, "Your team x has either used all available credits or reached its monthly spending limit.", "quota"),
        (400, "Unexpected role 'system' after role 'user'", "roles"),
        (
            400,
            "After the (optional) system message(s), user or tool message(s) should alternate with assistant"
            " message(s).",
            "roles",
        ),
        (400, "Please ensure that multiturn requests alternate between user and model.", "roles"),
        (
            400,
            "deepseek-reasoner does not support successive user or assistant messages (messages[1] and"
            " messages[2] in your input). You should interleave the user/assistant messages in the message sequence.",
            "roles",
        ),
        (400, "Last message must have role `user`.", "roles"),
        (
            400,
            "The last message of deepseek-reasoner must be a user message, or an assistant message with prefix mode on",
            "roles",
        ),
        (400, "Only user, assistant and tool roles are supported, got system.", "roles"),
        (500, "Conversation roles must alternate user/assistant/user/assistant/...", "roles"),
        (200, "1026 input new_sensitive", "filtered"),
        (400, "Invalid prompt: we've limited access to this content for safety reasons.", "filtered"),
        (400, "Violated guardrail policy", "filtered"),
        (400, "Your request was rejected as a result of our safety system.", "filtered"),
        (400, "The request was rejected because it was considered high risk", "filtered"),
        (
            400,
            "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
            "not_found",
        ),
        (400, "The model `gemma-7b-it` has been decommissioned and is no longer supported.", "not_found"),
        (400, "The provided model identifier is invalid.", "not_found"),
        (503, "当前分组 default 下对于模型 gpt-99 无可用渠道", "not_found"),
        (400, "Invalid model: x", "not_found"),
        (400, "Incorrect API key provided: xa***d. You can obtain an API key from https://console.x.ai.", "auth"),
        (
            500,
            "1004 login fail: Please carry the API secret key in the 'Authorization' field of the request header",
            "auth",
        ),
        (400, "At most 1 image(s) may be provided in one request.", "picture_refused"),
        (400, "messages.0.content: too many images and documents: 101 + 0 > 100", "picture_refused"),
        (400, "Too many images provided. This model supports up to 5 images", "picture_refused"),
        (400, "At most 0 image(s) may be provided in one prompt.", "no_pictures"),
        (400, "Image input is not enabled for this model", "no_pictures"),
        (400, "Image input modality is not enabled for models/gemma-3-1b-it", "no_pictures"),
        (400, "'image_url' is not supported by this model", "no_pictures"),
        (400, "Images not supported", "no_pictures"),
        (
            400,
            "This model doesn't support the image content block that you provided. To continue, use a different model.",
            "no_pictures",
        ),
        (
            400,
            "The image data you provided does not represent a valid image. Please check your input and try again.",
            "picture_refused",
        ),
        (400, "Provided image is not valid.", "picture_refused"),
        (
            400,
            "The image length and width do not meet the model restrictions. [height:10 or width:10 must be"
            " larger than 28]",
            "picture_refused",
        ),
        (400, "图片输入格式/解析错误", "picture_refused"),
        (400, "Multimodal file size is too large", "picture_refused"),
        (529, "overloaded_error Overloaded", "server"),
        (503, "server busy, please try again. maximum pending requests exceeded", "server"),
        (429, "Service tier capacity exceeded for this model.", "rate_limit"),
        (429, "Resource has been exhausted (e.g. check quota).", "rate_limit"),
        (429, "您当前使用该API的并发数过高，请降低并发", "rate_limit"),
        (429, "Allocated quota exceeded, please increase your quota limit.", "rate_limit"),
        (400, "Additional properties are not allowed ('foo' was unexpected)", "refused"),
        (400, "The image must not be in the system message, but only in user messages", "refused"),
        (429, "Rate limit reached for images per min. Limit: 5", "rate_limit"),
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
    ("words", "wanted", "most"),
    [
        (
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas"
            " you provided 100000.",
            100000,
            16384,
        ),
        (
            "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for"
            " claude-3-5-haiku-20241022",
            100000,
            8192,
        ),
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            100000,
            8192,
        ),
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1,8192]",
            100000,
            8192,
        ),
        (
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less"
            " than the `context_window` for this model",
            100000,
            8192,
        ),
        (
            "max_tokens参数非法：限制数值范围[1,131072]",
            200000,
            131072,
        ),
        (
            "max_tokens (100000) exceeds model's maximum output tokens (8192) for model nemotron",
            100000,
            8192,
        ),
        (
            "Param Incorrect: max_tokens is too large: 1048576. This model supports at most 131072 completion tokens,"
            " whereas you provided 1048576.",
            1048576,
            131072,
        ),
        (
            "Range of max_tokens should be [1, 8192]",
            100000,
            8192,
        ),
        (
            "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported"
            " range is from 1 (inclusive) to 65537 (exclusive).",
            100000,
            65536,
        ),
        (
            "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum"
            " tokens value that is lower than 4096.",
            100000,
            4095,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context"
            " length is 4096 tokens and your request has 100 input tokens (5000 > 4096 - 100).",
            5000,
            2048,
        ),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (1000"
            " in the messages, 8000 in the completion). Please reduce the length of the messages or completion.",
            8000,
            4096,
        ),
        (
            "input length and max_tokens exceed context limit: 90402 + 116650 > 204648, decrease input"
            " length or max_tokens",
            116650,
            102324,
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
            " 'max_completion_tokens' instead.",
            100000,
            None,
        ),
        (
            "max_tokens: Input should be less than or equal to 8,192",
            100000,
            8192,
        ),
        (
            "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1000 `inputs` tokens and 5000 `max_new_tokens`",
            5000,
            2048,
        ),
        (
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of"
            " 5100 tokens: 100 tokens from the input messages and 5000 tokens for the completion.",
            5000,
            2048,
        ),
        ("maximum context length is 4096 tokens and your request has 2500 input tokens", 5000, 1596),
        ("maximum context length is 4096 tokens and your request has 3500 input tokens", 5000, None),
        ("maximum context length is 4096 tokens and your request has 4500 input tokens", 5000, None),
    ],
)
def test_the_longest_answer_is_read_from_the_words(words: str, wanted: int, most: int | None) -> None:
    assert longest_answer(words, wanted) == most


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please retry after 12 seconds.", 12.0),
        ("Please try again in 7.66s.", 7.66),
        ("Please try again in 120ms.", 0.12),
        ("Try again in about 20s", 20.0),
        ("请求过于频繁，请在 12 秒后重试", 12.0),
        ("请 3 分钟之后再试", 180.0),
        ("每分钟最多 3 次，请稍后再试", None),
        ("Please retry in 2m.", 120.0),
        ("Please try again in 1h12m36s.", 4356.0),
        ("Please try again in 7m12.5s. Need more tokens? Visit 3 pages.", 432.5),
        ("Request was throttled. Expected available in 17 seconds.", 17.0),
        ("Please wait 12 seconds and 5 more requests.", 12.0),
        ('{"retryDelay": "34s"}', 34.0),
        ("Please retry in 500 milliseconds", 0.5),
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
        (
            {"error": {"message": "Param Incorrect", "param": "max_tokens is too large: 9.", "code": "400"}},
            ReportedError("400", "Param Incorrect: max_tokens is too large: 9."),
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
