"""Assistants as YAML files: readable, stable in a diff, and complete, so that an assistant can live in git."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import yaml

from datalayer.records.assistants import Assistant, AssistantAccess, AssistantPicture, AssistantSettings

FORMAT = "threadkeeper-assistant"
VERSION = 1
LARGEST_FILE = 1_000_000
"""Bytes."""
_SETTINGS = {one.name: one for one in fields(AssistantSettings)}
_LISTS = ("stop", "opening_prompts", "tips")
_OTHERS = ("format", "version", "slug", "owner", "access", "picture")
_LINE = 76


class InvalidFile(Exception):
    """The file is not an assistant; the message says why."""


@dataclass(frozen=True, slots=True)
class AssistantFile:
    """What a file says. None: the file does not say it."""

    slug: str | None
    settings: AssistantSettings
    access: AssistantAccess | None = None
    owner: str | None = None
    picture: bytes | None = None


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # the package has no types
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # YAML has no block with a blank at the end of a line, and takes more characters than \n for the end of a line.
    is_plain = all(character.isprintable() or character == "\n" for character in text)
    is_block = is_plain and "\n" in text and not any(line != line.rstrip() for line in text.split("\n"))
    style = "|" if is_block else None if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(assistant: Assistant, picture: AssistantPicture | None) -> str:
    """The file of an assistant: every value that is not the default one, its access, owner and picture."""
    settings = assistant.settings
    default = AssistantSettings("")
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, "slug": assistant.slug}
    for name in _SETTINGS:
        value = getattr(settings, name)
        if name == "name" or value != getattr(default, name):
            content[name] = list(value) if name in _LISTS else dict(value) if name == "logit_bias" else value
    content["access"] = _access_as_yaml(assistant.access)
    if assistant.owner is not None:
        content["owner"] = assistant.owner
    if picture is not None:
        encoded = base64.b64encode(picture.content).decode()
        content["picture"] = "\n".join(encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE))
    text: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)
    return text


def read_yaml(text: str) -> AssistantFile:
    """The assistant of a file. Whether its values are valid is checked when it is stored.

    Raises:
        InvalidFile: it is not YAML, or not the file of an assistant.
    """
    if len(text.encode()) > LARGEST_FILE:
        raise InvalidFile(f"it is larger than {LARGEST_FILE // 1000:,} kB")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidFile(f"it is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise InvalidFile(f"it does not begin with `format: {FORMAT}`")
    if content.get("version") != VERSION:
        raise InvalidFile(f"it has the version {content.get('version')!r}; this program reads version {VERSION}")
    known = (*_SETTINGS, *_OTHERS)
    if unknown := [str(name) for name in content if name not in known]:
        raise InvalidFile(f"it has the unknown field {unknown[0][:60]!r}")
    if "name" not in content:
        raise InvalidFile("it lacks the field name")
    values = {name: content[name] for name in _SETTINGS if content.get(name) is not None}
    values |= {name: tuple(values[name]) for name in _LISTS if isinstance(values.get(name), list)}
    if isinstance(values.get("logit_bias"), Mapping):
        # YAML reads the keys of a mapping as numbers.
        values["logit_bias"] = {str(token): bias for token, bias in values["logit_bias"].items()}
    return AssistantFile(
        _text_of(content, "slug"),
        AssistantSettings(**values),
        _access_of(content.get("access")),
        _text_of(content, "owner"),
        _picture_of(content.get("picture")),
    )


def _access_as_yaml(access: AssistantAccess) -> Any:
    if access.kind == "role":
        return {"role": access.role}
    return {"users": list(access.users)} if access.kind == "users" else access.kind


def _access_of(value: object) -> AssistantAccess | None:
    match value:
        case None:
            return None
        case "everyone":
            return AssistantAccess("everyone")
        case {"role": str(role), **others} if not others:
            return AssistantAccess("role", role)
        case {"users": [*names], **others} if not others and all(isinstance(name, str) for name in names):
            return AssistantAccess("users", users=tuple(names))
    raise InvalidFile(
        "its access must be `everyone`, `role: reviewer`, `role: admin`, or `users:` with a list of names"
    )


def _text_of(content: Mapping[Any, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidFile(f"its {name} must be text")
    return value


def _picture_of(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode("".join(str(value).split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidFile("its picture must be Base64") from None
