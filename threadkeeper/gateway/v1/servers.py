"""The servers whose models `/v1` offers: the one of the chat, and the one that embeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from threadkeeper.chat.providers import provider_name
from threadkeeper.settings.settings import Settings, plain

_OPENAI = "https://api.openai.com/v1"
# Addresses of Azure that have the name of a deployment in them, as OpenAI's client makes them.
_OF_DEPLOYMENTS = ("chat/completions", "completions", "embeddings")


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server and the models of its setting, the default first. `azure_version`: of Azure's interface, whose models
    are deployments.

    Without a base URL it is the demo.
    """

    base_url: str
    models: Sequence[str]
    key: str | None = field(default=None, repr=False)
    azure_version: str | None = None

    @property
    def is_openai(self) -> bool:
        """Whether OpenAI's newest models are there, which know the newer names of parameters alone."""
        return provider_name(self.base_url) in ("openai", "azure")

    def address(self, path: str, model: str) -> tuple[str, str]:
        """The base URL for this model, and the query, for a path such as `chat/completions`."""
        if self.azure_version is None:
            return self.base_url, ""
        deployment = f"/deployments/{quote(model, safe='')}" if path in _OF_DEPLOYMENTS else ""
        return f"{self.base_url}{deployment}", f"api-version={self.azure_version}"


@dataclass(frozen=True, slots=True)
class ModelServers:
    """`chat` answers, `embedding` embeds; None if only models of this machine do."""

    chat: ModelServer
    embedding: ModelServer | None = None

    def of(self, model: str, path: str) -> ModelServer | None:
        """The server of a model that is on offer, for a path; None for the demo."""
        if path == "embeddings" and self.embeds(model):
            return self.embedding
        return self.chat if self.chat.base_url else None

    def embeds(self, model: str) -> bool:
        """Whether the server that embeds has this model."""
        return self.embedding is not None and model in self.embedding.models


DEMO = ModelServers(ModelServer("", ("demo",)))


def model_servers(settings: Settings) -> ModelServers:
    """The servers of the settings."""

    if settings.demo:
        chat = DEMO.chat
    elif settings.azure_openai_endpoint:
        chat = ModelServer(
            f"{settings.azure_openai_endpoint.rstrip('/')}/openai",
            settings.openai_models,
            plain(settings.azure_openai_api_key),
            settings.azure_openai_api_version,
        )
    else:
        base_url = (settings.openai_base_url or _OPENAI).rstrip("/")
        chat = ModelServer(base_url, settings.openai_models, plain(settings.openai_api_key))
    name = settings.knowledge_embedding_model
    if not name:
        return ModelServers(chat)
    if settings.knowledge_embedding_base_url:
        key = plain(settings.knowledge_embedding_api_key)
        return ModelServers(chat, ModelServer(settings.knowledge_embedding_base_url.rstrip("/"), (name,), key))
    if not chat.base_url:
        return ModelServers(chat)
    return ModelServers(chat, ModelServer(chat.base_url, (name,), chat.key, chat.azure_version))
