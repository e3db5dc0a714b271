"""Checks the fields of an assistant, and brings them into the form in which they are stored.

All problems are reported together, each with its field, so that a form can show them beside their fields.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from datalayer.assistants.templates import PLACEHOLDERS, placeholders
from datalayer.cleaning import clean_text
from datalayer.errors import InvalidAssistant
from datalayer.records.assistants import (
    ACCESS_KINDS,
    ACCESS_ROLES,
    ASSISTANT_MODES,
    ASSISTANT_TYPES,
    DEFAULT_ASSISTANT,
    TRAINING_STARTS,
    AssistantAccess,
    AssistantPicture,
    AssistantProblem,
    AssistantSettings,
)

LONGEST_SLUG = 60
LARGEST_PICTURE = 256 * 1024
"""Bytes."""
RESERVED_SLUGS = (DEFAULT_ASSISTANT, "new")
_LENGTHS = {
    "name": 80,
    "description": 2_000,
    "prologue": 8_000,
    "prompt": 20_000,
    "model": 200,
    "embedding_model": 200,
    "idk": 2_000,
    "idk_link": 2_000,
}
_SEVERAL_LINES = ("description", "prologue", "prompt", "idk")
_BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "score_threshold": (0, 1),
}
_MOST_TOKENS = 10_000_000
_LISTS = {"stop": (4, 200), "opening_prompts": (8, 500), "tips": (8, 500)}
_MOST_BIASES, _LARGEST_BIAS = 300, 100
_TOKEN_ID = re.compile("[0-9]{1,9}")
_SLUG = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_MOST_USERS = 1_000
# What browsers show and what cannot contain scripts, by its first bytes.
_PICTURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}
_SENTENCES = {
    "missing": "is missing",
    "too_long": "has more than {most} characters",
    "out_of_range": "must be a number from {least} to {most}",
    "not_whole": "must be a whole number from {least} to {most}",
    "not_one": "must be 1",
    "not_one_of": "must be one of {names}",
    "too_many": "has more than {most} entries",
    "not_text": "must be text",
    "not_a_list": "must be a list of texts",
    "unknown_placeholder": "has the unknown placeholder {{{name}}}; known are {{context}} and {{question}}, and braces "
    "are written {{{{ and }}}}",
    "open_brace": "has a brace without its partner; braces are written {{{{ and }}}}",
    "lacks_placeholder": "must contain {{{name}}}, because the assistant answers from passages alone",
    "bad_bias": "must give a number from -100 to 100 for each token id",
    "bad_link": "must be an address that begins with http:// or https://",
    "bad_slug": "must consist of letters, digits and single hyphens, {most} characters at most",
    "reserved": "is reserved; choose another one",
    "nobody": "must name at least one user",
    "unknown_user": "names the unknown user {name}",
    "bad_picture": "must be a PNG, JPEG, GIF or WebP file",
    "large_picture": "is larger than {most} kB",
}


class Problems:
    """Collects the problems of one assistant."""

    def __init__(self) -> None:
        self._found: list[AssistantProblem] = []

    def add(self, field: str, kind: str, **values: object) -> None:
        self._found.append(AssistantProblem(field, kind, values))

    def demand_none(self) -> None:
        """Raises InvalidAssistant if there are any."""
        if self._found:
            raise InvalidAssistant(self._found, [sentence_of(one) for one in self._found])


def sentence_of(problem: AssistantProblem) -> str:
    """The problem as an English sentence without a full stop."""
    return f"{problem.field} {_SENTENCES[problem.kind].format_map(problem.values)}"


def slug_of(name: str) -> str:
    """A slug for this name; empty if the name has neither letters nor digits."""
    text = unicodedata.normalize("NFKC", clean_text(name)).casefold()
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text))
    return "-".join(words)[:LONGEST_SLUG].strip("-")


def check_slug(slug: object, problems: Problems) -> str:
    """The slug as it is stored: composed, without case."""
    cleaned = unicodedata.normalize("NFKC", clean_text(str(slug))).casefold().strip()
    cleaned = unicodedata.normalize("NFKC", cleaned)
    if cleaned in RESERVED_SLUGS:
        problems.add("slug", "reserved")
    elif not _SLUG.fullmatch(cleaned) or len(cleaned) > LONGEST_SLUG:
        problems.add("slug", "bad_slug", most=LONGEST_SLUG)
    return cleaned


def check_settings(settings: AssistantSettings, problems: Problems) -> AssistantSettings:
    """The settings as they are stored. What is not valid is added to the problems."""
    values: dict[str, Any] = {name: _text(settings, name, problems) for name in _LENGTHS}
    values |= {name: _number(settings, name, problems) for name in _BOUNDS}
    values |= {name: _texts(settings, name, problems) for name in _LISTS}
    if not values["name"]:
        problems.add("name", "missing")
    for name, known in (("type", ASSISTANT_TYPES), ("mode", ASSISTANT_MODES), ("training", TRAINING_STARTS)):
        if getattr(settings, name) not in known:
            problems.add(name, "not_one_of", names=", ".join(known))
    if settings.n != 1 or isinstance(settings.n, bool):
        problems.add("n", "not_one")
    most = settings.max_tokens
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= _MOST_TOKENS):
        problems.add("max_tokens", "not_whole", least=1, most=f"{_MOST_TOKENS:,}")
    values["logit_bias"] = _biases(settings.logit_bias, problems)
    _check_prompt(values["prompt"], settings.type, problems)
    if settings.type == "qa" and not values["idk"]:
        problems.add("idk", "missing")
    if values["idk_link"] and not _is_web_address(values["idk_link"]):
        problems.add("idk_link", "bad_link")
    return replace(settings, **values)


def check_access(access: AssistantAccess, problems: Problems) -> AssistantAccess:
    """Who may use an assistant, as it is stored. Whether the users exist is checked by the caller."""
    if access.kind not in ACCESS_KINDS:
        problems.add("access", "not_one_of", names=", ".join(ACCESS_KINDS))
        return access
    if access.kind == "role":
        if access.role not in ACCESS_ROLES:
            problems.add("role", "not_one_of", names=", ".join(ACCESS_ROLES))
        return AssistantAccess("role", access.role)
    if access.kind == "everyone":
        return AssistantAccess("everyone")
    names = dict.fromkeys(name for one in access.users if (name := clean_text(str(one)).strip()))
    if len(names) > _MOST_USERS:
        problems.add("users", "too_many", most=_MOST_USERS)
    return AssistantAccess("users", None, tuple(names))


def check_picture(content: bytes, problems: Problems) -> AssistantPicture:
    """The picture with the media type that its bytes show."""
    if len(content) > LARGEST_PICTURE:
        problems.add("picture", "large_picture", most=LARGEST_PICTURE // 1024)
    found = next((name for name, begin in _PICTURES.items() if begin.match(content)), None)
    if found is None:
        problems.add("picture", "bad_picture")
    return AssistantPicture(found or "", content)


def _text(settings: AssistantSettings, name: str, problems: Problems) -> str:
    value = getattr(settings, name)
    if not isinstance(value, str):
        problems.add(name, "not_text")
        return ""
    text = clean_text(value).replace("\r\n", "\n").strip()
    if name not in _SEVERAL_LINES:
        text = " ".join(text.split())
    if len(text) > _LENGTHS[name]:
        problems.add(name, "too_long", most=f"{_LENGTHS[name]:,}")
    return text


def _number(settings: AssistantSettings, name: str, problems: Problems) -> float | None:
    value, (least, most) = getattr(settings, name), _BOUNDS[name]
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        problems.add(name, "out_of_range", least=f"{least:g}", most=f"{most:g}")
        return None
    # Adding 0 turns -0 into 0.
    return float(value) + 0.0


def _texts(settings: AssistantSettings, name: str, problems: Problems) -> tuple[str, ...]:
    given, (most, longest) = getattr(settings, name), _LISTS[name]
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        problems.add(name, "not_a_list")
        return ()
    # Blanks belong to a stop sequence: a newline is a common one.
    clean: Callable[[str], str] = clean_text if name == "stop" else lambda text: clean_text(text).strip()
    texts = tuple(dict.fromkeys(text for one in given if (text := clean(one))))
    if len(texts) > most:
        problems.add(name, "too_many", most=most)
    if any(len(text) > longest for text in texts):
        problems.add(name, "too_long", most=longest)
    return texts


def _biases(given: object, problems: Problems) -> dict[str, float]:
    if not isinstance(given, Mapping):
        problems.add("logit_bias", "bad_bias")
        return {}
    biases: dict[str, float] = {}
    for token, bias in given.items():
        is_number = isinstance(bias, int | float) and not isinstance(bias, bool) and math.isfinite(bias)
        if not _TOKEN_ID.fullmatch(str(token)) or not is_number or abs(bias) > _LARGEST_BIAS:
            problems.add("logit_bias", "bad_bias")
            return {}
        biases[str(int(str(token)))] = float(bias) + 0.0
    if len(biases) > _MOST_BIASES:
        problems.add("logit_bias", "too_many", most=_MOST_BIASES)
    return dict(sorted(biases.items(), key=lambda pair: int(pair[0])))


def _check_prompt(prompt: str, of_type: str, problems: Problems) -> None:
    try:
        used = placeholders(prompt)
    except ValueError as error:
        name = str(error)
        if name:
            problems.add("prompt", "unknown_placeholder", name=clean_text(name)[:60])
        else:
            problems.add("prompt", "open_brace")
        return
    if of_type == "qa":
        for name in PLACEHOLDERS:
            if name not in used:
                problems.add("prompt", "lacks_placeholder", name=name)


def _is_web_address(text: str) -> bool:
    try:
        address = urlsplit(text)
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname) and text.isprintable() and " " not in text
