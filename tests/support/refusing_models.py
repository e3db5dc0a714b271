"""Models of the scripted server that refuse requests as real servers do. Their names follow the kind of refusal.

========================== =====================================================================================
no-system                  400 if there is a system message (OpenAI's early reasoning models)
no-system-template         400 in vLLM's form, if there is a system message (Gemma's template)
no-system-detail           422 in FastAPI's form, if there is a role other than user and assistant
alternate                  400 if the roles do not alternate, beginning with the user (vLLM, Mistral's template)
no-pictures                400 if there is a picture (OpenAI)
no-pictures-openrouter     404 (OpenRouter), the same
no-pictures-llama          500 (llama.cpp), the same
no-pictures-500            500 without a reason, the same
no-pictures-string         422 in FastAPI's form, if a content is not a text
small-pictures:<bytes>     400 if a picture is larger (Anthropic)
filter:<word>              400 content_filter if a message of the user contains the word (Azure)
filter-all:<word>          the same for any message (DeepSeek's words)
filter-answers:<word>      the same for an answer of the model itself
grumpy:<word>              400 without a reason, if a message of the user contains the word
broken:<word>              500 without a reason, the same
broken-answers:<word>      the same for an answer of the model itself
gemini-window:<n>          400 in Gemini's form, if the prompt has more than n tokens
grok-window:<n>            400 in xAI's form, the same
no-stream-options          422 in FastAPI's form, if the request has stream_options
most-output:<n>            400 if the request asks for a longer answer (OpenAI)
vllm-window:<n>            400 if prompt and longest answer have more than n tokens together (vLLM)
litellm-quota              429 of LiteLLM's proxy in front of a used-up quota
litellm-unknown            400 of LiteLLM's proxy for an unknown model
busy:<times>:<s>           429 in Azure's form: the wait stands in the text alone
========================== =====================================================================================

Whatever is not refused is answered as by ``echo``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

Messages = Sequence[Mapping[str, Any]]


def refusal(model: str, body: Mapping[str, Any], tokens: int, served: int) -> web.Response | None:
    """The answer to a refused request; None if the model accepts it.

    Args:
        model: the name of the model.
        body: the request.
        tokens: those of its messages.
        served: how often this model was asked, this request included.
    """
    name, *rest = model.split(":")
    messages: Messages = body["messages"]
    refuses, answer = _MODELS[name]
    return answer(model, tokens) if refuses(body, messages, rest, tokens, served) else None


def is_refusing(model: str) -> bool:
    return model.partition(":")[0] in _MODELS


def _has_system(_body: Any, messages: Messages, *_: Any) -> bool:
    return any(message["role"] == "system" for message in messages)


def _has_picture(_body: Any, messages: Messages, *_: Any) -> bool:
    return bool(_pictures(messages))


def _has_parts(_body: Any, messages: Messages, *_: Any) -> bool:
    return any(not isinstance(message["content"], str) for message in messages)


def _has_large_picture(_body: Any, messages: Messages, rest: list[str], *_: Any) -> bool:
    return any(len(picture) * 3 // 4 > int(rest[0]) for picture in _pictures(messages))


def _is_filtered(_body: Any, messages: Messages, rest: list[str], *_: Any) -> bool:
    return any(rest[0] in str(message["content"]) for message in messages if message["role"] == "user")


def _is_filtered_anywhere(_body: Any, messages: Messages, rest: list[str], *_: Any) -> bool:
    return any(rest[0] in str(message["content"]) for message in messages)


def _is_filtered_answer(_body: Any, messages: Messages, rest: list[str], *_: Any) -> bool:
    return any(rest[0] in str(message["content"]) for message in messages if message["role"] == "assistant")


def _is_too_long(_body: Any, _messages: Any, rest: list[str], tokens: int, *_: Any) -> bool:
    return tokens > int(rest[0])


def _has_stream_options(body: Mapping[str, Any], *_: Any) -> bool:
    return "stream_options" in body


def _is_longer(body: Mapping[str, Any], _messages: Any, rest: list[str], *_: Any) -> bool:
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 0) > int(rest[0])


def _overflows(body: Mapping[str, Any], _messages: Any, rest: list[str], tokens: int, *_: Any) -> bool:
    return tokens + int(body.get("max_tokens") or 0) > int(rest[0])


def _does_not_alternate(_body: Any, messages: Messages, *_: Any) -> bool:
    roles = [message["role"] for message in messages if message["role"] != "system"]
    return roles != ["user" if at % 2 == 0 else "assistant" for at in range(len(roles))]


def _is_busy(_body: Any, _messages: Any, rest: list[str], _tokens: int, served: int) -> bool:
    return served <= int(rest[0])


def _always(*_: Any) -> bool:
    return True


def _pictures(messages: Messages) -> list[str]:
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    return [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]


def _error(status: int, message: str, code: object = None, kind: str = "invalid_request_error", **more: Any) -> Any:
    error = {"message": message, "type": kind, "param": None, "code": code, **more}
    return lambda _model, _tokens: web.json_response({"error": error}, status=status)


def _detail(field: list[object], message: str, kind: str) -> Any:
    """FastAPI's form of an invalid request."""
    detail = [{"type": kind, "loc": ["body", *field], "msg": message, "input": {}}]
    return lambda _model, _tokens: web.json_response({"detail": detail}, status=422)


def _window(words: str, wrap: Callable[[dict[str, Any]], Any]) -> Any:
    def answer(model: str, tokens: int) -> web.Response:
        message = words.format(tokens=tokens, limit=model.split(":")[1])
        error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
        return web.json_response(wrap(error), status=400)

    return answer


def _too_long_answer(model: str, _tokens: int) -> web.Response:
    most = model.split(":")[1]
    message = f"max_tokens is too large: 99999. This model supports at most {most} completion tokens."
    error = {"message": message, "type": "invalid_request_error", "param": "max_tokens", "code": "invalid_value"}
    return web.json_response({"error": error}, status=400)


def _busy(model: str, _tokens: int) -> web.Response:
    message = f"Your requests have exceeded token rate limit. Please retry after {model.split(':')[2]} seconds."
    return web.json_response({"error": {"code": "429", "message": message}}, status=429)


def _broken(_model: str, _tokens: int) -> web.Response:
    return web.Response(status=500, text="Internal Server Error")


_LITELLM_QUOTA = (
    "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please check your plan"
    " and billing details.\n\nLiteLLM: model group 'gpt-4o' failed with the error above. No fallback was attempted."
)
_LITELLM_UNKNOWN = (
    "/chat/completions: Invalid model name passed in model=litellm-unknown. Call `/v1/models` to view available models"
    " for your key."
)
_FILTERED = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
_ALTERNATE = "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
_NO_MMPROJ = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"

_MODELS: dict[str, tuple[Callable[..., bool], Any]] = {
    "no-system": (
        _has_system,
        _error(400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    ),
    "no-system-template": (
        _has_system,
        lambda _model, _tokens: web.json_response(
            {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400},
            status=400,
        ),
    ),
    "no-system-detail": (
        _has_system,
        _detail(["messages", 0, "role"], "Input should be 'user' or 'assistant'", "literal_error"),
    ),
    "alternate": (
        _does_not_alternate,
        lambda _model, _tokens: web.json_response(
            {"object": "error", "message": _ALTERNATE, "type": "BadRequestError", "code": 400}, status=400
        ),
    ),
    "no-pictures": (_has_picture, _error(400, "Invalid content type. image_url is only supported by certain models.")),
    "no-pictures-openrouter": (_has_picture, _error(404, "No endpoints found that support image input", 404)),
    "no-pictures-llama": (_has_picture, _error(500, _NO_MMPROJ, 500, "server_error")),
    "no-pictures-500": (_has_picture, _broken),
    "no-pictures-string": (
        _has_parts,
        _detail(["messages", 1, "content"], "Input should be a valid string", "string_type"),
    ),
    "small-pictures": (
        _has_large_picture,
        _error(400, "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 5452640 bytes > 5242880"),
    ),
    "filter": (_is_filtered, _error(400, _FILTERED, "content_filter")),
    "filter-all": (_is_filtered_anywhere, _error(400, "Content Exists Risk", "invalid_request_error")),
    "filter-answers": (_is_filtered_answer, _error(400, _FILTERED, "content_filter")),
    "grumpy": (_is_filtered, _error(400, "Bad request.")),
    "broken": (_is_filtered, _broken),
    "broken-answers": (_is_filtered_answer, _broken),
    "gemini-window": (
        _is_too_long,
        _window(
            "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit}).",
            lambda error: [{"error": error}],
        ),
    ),
    "grok-window": (
        _is_too_long,
        _window(
            "This model's maximum prompt length is {limit} but the request contains {tokens} tokens.",
            lambda error: {"code": "Client specified an invalid argument", "error": error["message"]},
        ),
    ),
    "no-stream-options": (
        _has_stream_options,
        _detail(["stream_options"], "Extra inputs are not permitted", "extra_forbidden"),
    ),
    "vllm-window": (
        _overflows,
        _window(
            "'max_tokens' or 'max_completion_tokens' is too large. This model's maximum context length is {limit}"
            " tokens and your request has {tokens} input tokens.",
            lambda error: {"error": error},
        ),
    ),
    "most-output": (_is_longer, _too_long_answer),
    "litellm-quota": (_always, _error(429, _LITELLM_QUOTA, "429", "throttling_error")),
    "litellm-unknown": (_always, _error(400, _LITELLM_UNKNOWN, "400")),
    "busy": (_is_busy, _busy),
}
