"""Reads what a caller asks, in each dialect: model, messages, maximum of the answer, and whether it streams.

The body itself goes to the provider unchanged; what is read here serves limits, prices and the stored messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from threadkeeper.chat.messages import ChatMessage, Part, all_text
from threadkeeper.gateway.endpoints import Endpoint

UNKNOWN_MODEL = "unknown"
# Bounded: without a bound, the lines of a form that only has such names would be read again for each of them.
_HEADERS = rb"(?:[^\r\n]{1,200}\r\n){0,8}\r\n"
_PROMPT = re.compile(rb'name="?prompt"?\r\n' + _HEADERS)
_END_OF_FIELD = b"\r\n--"
_FIELD = re.compile(rb'name="?(model|stream)"?\r\n' + _HEADERS + rb"([^\r\n]{1,200})\r\n")
_MOST = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_tokens_to_sample")
_MOST_TOKENS = 1e9
_LONGEST_ADDRESS = 200
_SYSTEM = {"anthropic": "system", "interactions": "system_instruction"}
_PICTURES = ("image_url", "input_image", "image")
_FILES = ("input_file", "file", "input_audio", "document", "inlineData", "inline_data", "fileData", "file_data")


@dataclass(frozen=True, slots=True)
class Question:
    """`model` is None if the request names none. `max_tokens`: of all answers together, None without a maximum.

    `service_tier`: that the request asks for, as it names it.
    """

    model: str | None
    messages: tuple[ChatMessage, ...] = ()
    max_tokens: int | None = None
    is_streaming: bool = False
    service_tier: str | None = None

    @property
    def characters(self) -> int:
        return sum(len(all_text(message)) for message in self.messages)


def question_of(endpoint: Endpoint, body: Any, *, path: str = "") -> Question:
    """The question in a JSON body; an empty one if the body is no object."""
    if not isinstance(body, dict):
        return Question(endpoint.model)
    named = body.get("model")
    model = endpoint.model or (named.strip() or None if isinstance(named, str) else None)
    if isinstance(model, str) and endpoint.dialect == "gemini":
        model = model.removeprefix("models/")
    streams = body.get("stream") is True or "streamgenerate" in path.lower()
    tier = body.get("service_tier")
    messages = tuple(_messages(endpoint, body))
    return Question(model, messages, _most_tokens(body), streams, tier if isinstance(tier, str) else None)


def question_of_form(endpoint: Endpoint, beginning: bytes) -> Question:
    """The question in the first bytes of a form with files: its model, its prompt, and whether it asks for a stream."""
    fields = [(name, value.decode(errors="replace").strip()) for name, value in _FIELD.findall(beginning)]
    found = {value for name, value in fields if name == b"model"}
    streams = any(name == b"stream" and value.lower() in ("true", "1") for name, value in fields)
    prompts: tuple[ChatMessage, ...] = ()
    if (prompt := _PROMPT.search(beginning)) is not None:
        text = beginning[prompt.end() :].partition(_END_OF_FIELD)[0]
        prompts = (_message("user", text.decode(errors="replace")),)
    # Which of several the provider reads, is not known.
    return Question(endpoint.model or (found.pop() if len(found) == 1 else None), prompts, is_streaming=streams)


def _most_tokens(body: dict[str, Any]) -> int | None:
    values = [body.get(name) for name in _MOST]
    for name in ("generationConfig", "generation_config"):
        if isinstance(configured := body.get(name), dict):
            values += [configured.get("maxOutputTokens"), configured.get("max_output_tokens")]
    # Which of several the provider reads, is not known: the largest is reserved.
    found = max(filter(None, map(_whole, values)), default=None)
    answers = body.get("n")
    return found * answers if found is not None and type(answers) is int and 1 < answers <= 128 else found


def _whole(value: Any) -> int | None:
    """The value as a whole number above 0; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def _messages(endpoint: Endpoint, body: dict[str, Any]) -> Iterator[ChatMessage]:
    if endpoint.dialect == "gemini":
        yield from _of_gemini(body)
        return
    if system := body.get(_SYSTEM.get(endpoint.dialect, "instructions")):
        yield _message("system", system)
    for name in ("messages", "input", "prompt"):
        if (value := body.get(name)) is not None:
            yield from _of(value)


def _of(value: Any) -> Iterator[ChatMessage]:
    """Messages, or texts that are not messages."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and ("role" in one or "content" in one):
            yield _message(one.get("role"), one.get("content"), one.get("tool_calls"))
        else:
            yield _message("user", [one] if isinstance(one, dict) else one)


def _of_gemini(body: dict[str, Any]) -> Iterator[ChatMessage]:
    system = body.get("systemInstruction") or body.get("system_instruction")
    if isinstance(system, dict):
        yield _message("system", system.get("parts"))
    contents = body.get("contents") or body.get("content") or ()
    yield from _of_contents(contents)
    # Texts to embed come one a request, and prompts of pictures as instances.
    for name in ("requests", "instances"):
        for one in body[name] if isinstance(body.get(name), list) else ():
            if isinstance(one, dict) and isinstance(prompt := one.get("prompt") or one.get("content"), str):
                yield _message("user", prompt)
            elif isinstance(one, dict):
                yield from _of_contents(one.get("content"))


def _of_contents(contents: Any) -> Iterator[ChatMessage]:
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, dict):
            role = "assistant" if content.get("role") == "model" else content.get("role")
            yield _message(role, content.get("parts"))


def _message(role: Any, content: Any, calls: Any = None) -> ChatMessage:
    name = role if isinstance(role, str) else "user"
    parts = [content] if isinstance(content, str) else list(_parts(content))
    if calls:
        parts.append(_as_text(calls))
    if all(isinstance(part, str) for part in parts):
        return cast("ChatMessage", {"role": name, "content": "\n\n".join(cast("list[str]", parts))})
    as_parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return cast("ChatMessage", {"role": name, "content": as_parts})


def _parts(content: Any) -> Iterator[str | Part]:
    if content is None:
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]
        elif isinstance(part, dict) and _is_any(part, _PICTURES):
            yield {"type": "image_url", "image_url": {"url": _address(part)}}
        elif isinstance(part, dict) and _is_any(part, _FILES):
            address = _address(part)
            is_picture = any(_media(holder).startswith("image/") for holder in _dictionaries(part))
            yield {"type": "image_url", "image_url": {"url": address}} if is_picture else _file(part, address)
        else:
            yield _as_text(part)


def _is_any(part: dict[str, Any], names: tuple[str, ...]) -> bool:
    return part.get("type") in names or not part.keys().isdisjoint(names)


def _file(part: dict[str, Any], address: str) -> str:
    """What is kept of a file that is no picture: what it is, and its size."""
    kind = next((name for name in _FILES if part.get("type") == name or name in part), "file")
    if not address.startswith("data:"):
        return f"({kind}: {address[:_LONGEST_ADDRESS]})" if address else f"({kind})"
    media, _, data = address.removeprefix("data:").partition(",")
    # Four characters of base64 are three bytes.
    return f"({kind}: {media.partition(';')[0] or 'of unknown type'}, {len(data) * 3 // 4} bytes)"


def _address(part: dict[str, Any]) -> str:
    """The address or the data of a picture or file, from which its type and size are read."""
    for holder in _dictionaries(part):
        for name in ("url", "image_url", "file_data", "file_id", "fileUri", "file_uri"):
            if isinstance(holder.get(name), str):
                return cast("str", holder[name])
        if isinstance(holder.get("data"), str):
            return f"data:{_media(holder)};base64,{holder['data']}"
    return ""


def _media(holder: dict[str, Any]) -> str:
    """The media type that an object names, or its short form, such as "wav"."""
    names = ("media_type", "mimeType", "mime_type", "format")
    return next((holder[name] for name in names if isinstance(holder.get(name), str)), "")


def _dictionaries(part: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [part, *(value for value in part.values() if isinstance(value, dict))]


def _as_text(value: Any) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"
