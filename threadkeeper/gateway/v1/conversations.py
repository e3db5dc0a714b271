"""The conversation in the body of a request: what was asked last, and how an assistant's prompt is put into it.

A body is one of chat completions or one of Responses; both are changed in the same ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from datalayer.records.assistants import AssistantSettings
from threadkeeper.gateway.refusals import Refused
from threadkeeper.program_turns import Said

_TEXTS = ("text", "input_text", "output_text")
_OF_CHAT = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "stop")
_OF_RESPONSES = ("temperature", "top_p")
MOST = ("max_completion_tokens", "max_tokens")
"""The names of the maximum of an answer in chat completions."""


@dataclass(frozen=True, slots=True)
class Talk:
    """The conversation of a request.

    `at` is the place of the last message of the user among the messages, `question` what it says, and `before` what was
    said before it. `is_asked`: whether it is the last message; behind it are the results of tools otherwise.
    """

    messages: list[Any]
    at: int
    question: Said
    before: tuple[Said, ...]
    is_asked: bool


def talk_of(path: str, value: Mapping[str, Any]) -> Talk:
    """The conversation of a request.

    Raises:
        Refused: it has no message of a user.
    """
    name = "messages" if path == "chat/completions" else "input"
    given = value.get(name)
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(messages, list):
        raise Refused(400, "invalid_messages", f"The field `{name}` is not a list of messages.", param=name)
    said = [_said(one) for one in messages]
    at = next((at for at in reversed(range(len(said))) if (one := said[at]) and one.role == "user"), None)
    if at is None:
        raise Refused(400, "invalid_messages", f"The field `{name}` has no message of a user.", param=name)
    question = said[at]
    assert question is not None
    before = tuple(one for one in said[:at] if one is not None and (one.text or one.pictures))
    return Talk(messages, at, question, before, at == len(messages) - 1)


def _said(message: Any) -> Said | None:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        return None
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part for part in parts if isinstance(part, str)] + [part["text"] for part in parts if _is_text(part)]
    pictures = (_picture(part) for part in parts if isinstance(part, dict))
    return Said(message["role"], "\n\n".join(texts), tuple(filter(None, pictures)))


def _is_text(part: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)


def _picture(part: dict[str, Any]) -> str:
    address = part.get("image_url") if part.get("type") in ("image_url", "input_image") else None
    address = address.get("url") if isinstance(address, dict) else address
    return address if isinstance(address, str) else ""


def with_prompt(
    path: str, value: Mapping[str, Any], talk: Talk, *, system_prompt: str, question: str
) -> dict[str, Any]:
    """The body with the system prompt of an assistant before that of the caller, and with its form of the question."""
    messages = list(talk.messages)
    if question != talk.question.text:
        messages[talk.at] = {**messages[talk.at], "content": _with_text(messages[talk.at].get("content"), question)}
    if path == "chat/completions":
        system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        return {**value, "messages": [*system, *messages]}
    own = value.get("instructions")
    instructions = "\n\n".join(filter(None, (system_prompt, own if isinstance(own, str) else "")))
    return {**value, "input": messages, **({"instructions": instructions} if instructions else {})}


def _with_text(content: Any, text: str) -> Any:
    """The content of a message with another text; its pictures and files stay."""
    if not isinstance(content, list):
        return text
    first = next((part for part in content if _is_text(part)), {"type": "text"})
    return [{**first, "text": text}, *(part for part in content if not _is_text(part))]


def with_parameters(
    path: str, value: dict[str, Any], settings: AssistantSettings, *, is_openai: bool
) -> dict[str, Any]:
    """The body with the parameters of an assistant. Those that it does not set are the caller's.

    The maximum of the answer is the smaller of both. `is_openai`: OpenAI's newer models know its newer name alone.
    """
    is_chat = path == "chat/completions"
    value = {**value, **own_parameters(path, settings)}
    if settings.max_tokens is not None:
        limits = MOST if is_chat else ("max_output_tokens",)
        own = [value.pop(name) for name in limits if name in value]
        least = min([settings.max_tokens, *(most for most in own if type(most) is int and most > 0)])
        value[limits[0] if is_openai or not is_chat else "max_tokens"] = least
    return value


def own_parameters(path: str, settings: AssistantSettings) -> dict[str, Any]:
    """The parameters that an assistant sets, without the maximum of the answer."""
    set_values: dict[str, Any] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "presence_penalty": settings.presence_penalty,
        "frequency_penalty": settings.frequency_penalty,
        "logit_bias": dict(settings.logit_bias),
        "stop": list(settings.stop),
    }
    names = _OF_CHAT if path == "chat/completions" else _OF_RESPONSES
    return {name: set_values[name] for name in names if set_values[name] not in (None, {}, [])}
