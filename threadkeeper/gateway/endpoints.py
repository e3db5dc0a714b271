"""What a path asks for: the kind of call, how to read its answer, and where the provider expects its key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from threadkeeper.gateway.headers import KeyStyle

Dialect = Literal["openai", "responses", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`model` is the one that the path names. `asks_usage`: a stream reports usage only if `stream_options` asks."""

    kind: str
    dialect: Dialect
    key_style: KeyStyle
    model: str | None = None
    asks_usage: bool = False


_KINDS: tuple[tuple[re.Pattern[str], str, Dialect], ...] = (
    (re.compile(r"/chat/completions/?$"), "chat", "openai"),
    (re.compile(r"/completions/?$"), "completion", "openai"),
    (re.compile(r"/responses/?$"), "chat", "responses"),
    (re.compile(r"/embeddings/?$"), "embedding", "openai"),
    (re.compile(r"/images/(generations|edits|variations)/?$"), "image", "openai"),
    (re.compile(r"/audio/(speech|transcriptions|translations)/?$"), "audio", "openai"),
    (re.compile(r"/moderations/?$"), "moderation", "openai"),
    (re.compile(r"/v1/messages/?$"), "chat", "anthropic"),
    (re.compile(r"/models/[^/:]+:(stream)?generateContent$", re.IGNORECASE), "chat", "gemini"),
    (re.compile(r"/models/[^/:]+:(batch)?embedContents?$", re.IGNORECASE), "embedding", "gemini"),
    (re.compile(r"/models/[^/:]+:predict$", re.IGNORECASE), "image", "gemini"),
)
_OF_ANTHROPIC = re.compile(r"/v1/(messages|complete)(/|$)")
_OF_GEMINI = re.compile(r"/models/([^/:]+):[A-Za-z]+$")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/")
_WITH_USAGE = ("chat", "completion")


def endpoint_of(host: str, path: str, method: str = "POST") -> Endpoint:
    """The endpoint of a decoded path at a host. An unknown one is of the kind "other"."""
    deployment, gemini = _DEPLOYMENT.search(path), _OF_GEMINI.search(path)
    style: KeyStyle = "bearer"
    if deployment or _is_of(host, "azure.com"):
        style = "api-key"
    elif _OF_ANTHROPIC.search(path) or (_is_of(host, "anthropic.com") and "/chat/completions" not in path):
        style = "x-api-key"
    elif gemini or (_is_of(host, "generativelanguage.googleapis.com") and "/openai/" not in path):
        style = "x-goog-api-key"
    kind, dialect = "other", _dialect(style)
    if method == "POST":
        found = next((one for one in _KINDS if one[0].search(path)), None)
        if found is not None:
            _, kind, dialect = found
    named = deployment or gemini
    asks_usage = dialect == "openai" and kind in _WITH_USAGE
    return Endpoint(kind, dialect, style, named.group(1) if named else None, asks_usage)


def _dialect(style: KeyStyle) -> Dialect:
    return {"x-api-key": "anthropic", "x-goog-api-key": "gemini"}.get(style, "openai")  # type: ignore[return-value]


def _is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
