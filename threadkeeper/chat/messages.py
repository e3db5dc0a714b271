"""Messages in the chat completions format.

A message with attachments is a list of parts. Each attachment begins with a line that names its file, and the text that
the user typed is always the last part. So the text of a file cannot pass for the user's own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypedDict, cast


class TextPart(TypedDict):
    type: Literal["text"]
    text: str


class ImageUrl(TypedDict):
    url: str


class PicturePart(TypedDict):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = TextPart | PicturePart


class ChatMessage(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str | list[Part]


_OPENING = re.compile(r'<(?:file(?:-\d+)?|picture) name="([^"]*)"')


def text_part(text: str) -> TextPart:
    return {"type": "text", "text": text}


def file_part(name: str, text: str) -> TextPart:
    """The text of one file between two tags; the name of the tag does not occur in the text."""
    tag, number = "file", 1
    while f"</{tag}>" in text:
        number += 1
        tag = f"file-{number}"
    return text_part(f'<{tag} name="{_quoted(name)}">\n{text}\n</{tag}>')


def picture_parts(name: str, data_url: str) -> list[Part]:
    return [text_part(f'<picture name="{_quoted(name)}">'), {"type": "image_url", "image_url": {"url": data_url}}]


def absent_part(name: str, reason: str) -> TextPart:
    """Tells the model that it does not get an attachment's content, and why."""
    return text_part(f'<file name="{_quoted(name)}" absent="{_quoted(reason)}">')


def user_message(text: str, attached: Sequence[Part] = ()) -> ChatMessage:
    return {"role": "user", "content": [*attached, text_part(text)] if attached else text}


def typed_text(message: ChatMessage) -> str:
    """The text that the user typed, without attachments."""
    content = message["content"]
    if isinstance(content, str):
        return content
    last = content[-1]
    return last["text"] if last["type"] == "text" else ""


def attached_names(message: ChatMessage) -> list[str]:
    """The file names of a message's attachments, in order."""
    content = message["content"]
    if isinstance(content, str):
        return []
    openings = (_OPENING.match(part["text"]) for part in content[:-1] if part["type"] == "text")
    return [opening.group(1) for opening in openings if opening]


def all_text(message: ChatMessage) -> str:
    """All text of the message, including attachments, without pictures."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n\n".join(part["text"] for part in content if part["type"] == "text" and part["text"])


def has_pictures(message: ChatMessage) -> bool:
    content = message["content"]
    return not isinstance(content, str) and any(part["type"] == "image_url" for part in content)


def picture_count(messages: Sequence[ChatMessage]) -> int:
    """The number of pictures in the messages."""
    contents = [message["content"] for message in messages if not isinstance(message["content"], str)]
    return sum(part["type"] == "image_url" for content in contents for part in content)


def on_the_wire(messages: Sequence[ChatMessage], *, plain_roles: bool = False) -> list[ChatMessage]:
    """The messages as they are sent: plain strings where there are no pictures, and neighbours of one role merged.

    Text-only servers refuse lists of parts. The chat templates of some open models refuse two questions in a row, which
    a thread has after a failed answer.

    Args:
        messages: system message, conversation and question.
        plain_roles: for models without a system role: the system prompt stands before the first question, and a
            conversation that begins with an answer gets a message before it.
    """
    if plain_roles:
        messages = _with_plain_roles(messages)
    sent: list[ChatMessage] = []
    for message in messages:
        content = _content(message)
        if not sent or sent[-1]["role"] != message["role"]:
            sent.append({"role": message["role"], "content": content})
        elif isinstance(content, str) and isinstance(sent[-1]["content"], str):
            sent[-1]["content"] += f"\n\n{content}"
        else:
            sent[-1]["content"] = [*_as_parts(sent[-1]["content"]), *_as_parts(content)]
    return sent


def _with_plain_roles(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    prompts = [{**message, "role": "user"} for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not prompts and others and others[0]["role"] == "assistant":
        prompts = [{"role": "user", "content": "[The conversation begins with a message of the assistant.]"}]
    return [*cast("list[ChatMessage]", prompts), *others]


def _content(message: ChatMessage) -> str | list[Part]:
    if not has_pictures(message):
        return _encodable(all_text(message))
    parts: list[Part] = []
    for part in message["content"]:
        if isinstance(part, str) or part["type"] == "image_url":
            parts.append(cast("Part", part))
        elif part["text"]:
            parts.append({"type": "text", "text": _encodable(part["text"])})
    return parts


def _as_parts(content: str | list[Part]) -> list[Part]:
    return [text_part(content)] if isinstance(content, str) else content


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _quoted(value: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in value)
    return printable.replace('"', "'")
