"""What a path asks for: the kind of call, how to read its answer, and where the provider expects its key."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from threadkeeper.gateway.dialects import Dialect
from threadkeeper.gateway.headers import KeyStyle


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`model` is the one that the path names. `asks_usage`: a stream reports usage only if `stream_options` asks."""

    kind: str
    dialect: Dialect
    key_style: KeyStyle
    model: str | None = None
    asks_usage: bool = False


def _path(pattern: str) -> re.Pattern[str]:
    # Azure reads its paths in upper and lower case alike.
    return re.compile(pattern, re.IGNORECASE)


_KINDS: tuple[tuple[re.Pattern[str], str, Dialect], ...] = (
    (_path(r"/chat/completions/?$"), "chat", "openai"),
    (_path(r"/completions/?$"), "completion", "openai"),
    (_path(r"/responses/?$"), "chat", "responses"),
    (_path(r"/embeddings/?$"), "embedding", "openai"),
    (_path(r"/images/(generations|edits|variations)/?$"), "image", "openai"),
    (_path(r"/audio/(speech|transcriptions|translations)/?$"), "audio", "openai"),
    (_path(r"/moderations/?$"), "moderation", "openai"),
    (_path(r"/v1/messages/?$"), "chat", "anthropic"),
    (_path(r"/(models|tunedModels)/[^/:]+:(stream)?generateContent$"), "chat", "gemini"),
    (_path(r"/(models|tunedModels)/[^/:]+:(batch)?embedContents?$"), "embedding", "gemini"),
    (_path(r"/(models|tunedModels)/[^/:]+:predict$"), "image", "gemini"),
    (_path(r"/v1[^/]*/interactions/?$"), "chat", "interactions"),
)
_OF_ANTHROPIC = _path(r"/v1/(messages|complete)(/|$)")
# The name of a tuned model includes its folder.
_OF_GEMINI = _path(r"/(?:models/|(?=tunedModels/))((?:tunedModels/)?[^/:]+):[a-z]+$")
_OF_INTERACTIONS = _path(r"/v1[^/]*/interactions(/|$)")
_DEPLOYMENT = _path(r"/openai/deployments/([^/]+)/")
_WITH_USAGE = ("chat", "completion")
# Hosts that take every key as OpenAI does, Gemini's below "/openai/".
_BEARER_HOSTS = (
    *("openai.com", "openrouter.ai", "groq.com", "mistral.ai", "x.ai", "together.xyz", "together.ai", "fireworks.ai"),
    *("deepinfra.com", "cerebras.ai", "perplexity.ai", "cohere.com", "cohere.ai", "generativelanguage.googleapis.com"),
)


CLIENTS = ("x-goog-api-key", "anthropic-version", "api-key")
"""Headers that tell whose client sends them."""


def endpoint_of(host: str, path: str, method: str = "POST", sent: Collection[str] = ()) -> Endpoint:
    """The endpoint of a decoded path at a host. An unknown one is of the kind "other".

    Args:
        sent: the names of the caller's headers. If neither host nor path tells the provider, such as for the models of
            a server that passes Anthropic's requests on, they tell whose client it is.
    """
    deployment, gemini = _DEPLOYMENT.search(path), _OF_GEMINI.search(path)
    style: KeyStyle = "bearer"
    if deployment or _is_of(host, "azure.com"):
        style = "api-key"
    elif _OF_ANTHROPIC.search(path) or (_is_of(host, "anthropic.com") and "/chat/completions" not in path):
        style = "x-api-key"
    elif gemini or _OF_INTERACTIONS.search(path) or _is_gemini_alone(host, path):
        style = "x-goog-api-key"
    known = next((one for one in _KINDS if one[0].search(path)), None)
    if style == "bearer" and known is None and not any(_is_of(host, one) for one in _BEARER_HOSTS):
        style = _style_of_client(sent)
    kind, dialect = "other", _dialect(style)
    if method == "POST" and known is not None:
        _, kind, dialect = known
    named = deployment or gemini
    asks_usage = dialect == "openai" and kind in _WITH_USAGE
    return Endpoint(kind, dialect, style, named.group(1) if named else None, asks_usage)


def _style_of_client(sent: Collection[str]) -> KeyStyle:
    if "x-goog-api-key" in sent:
        return "x-goog-api-key"
    if "anthropic-version" in sent:
        return "x-api-key"
    return "api-key" if "api-key" in sent else "bearer"


def _is_gemini_alone(host: str, path: str) -> bool:
    # Below "/openai/", Gemini takes keys as OpenAI does.
    return _is_of(host, "generativelanguage.googleapis.com") and "/openai/" not in path


def _dialect(style: KeyStyle) -> Dialect:
    return {"x-api-key": "anthropic", "x-goog-api-key": "gemini"}.get(style, "openai")  # type: ignore[return-value]


def _is_of(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def dialect_of(path: str) -> Dialect:
    """The dialect in which to refuse a request, as far as its path tells."""
    return endpoint_of("", path).dialect
