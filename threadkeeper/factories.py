"""Creates the file store, the metered model, the knowledge and the review policy. Opens no connection."""

from collections.abc import Iterable
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from datalayer import BlobOptions, BlobStore, open_blob_store
from threadkeeper.chat.assistants import Retriever
from threadkeeper.chat.context.history import DEFAULT_SYSTEM_PROMPT
from threadkeeper.chat.listing import ListedServer, ModelLists
from threadkeeper.chat.metering.metered_model import CallStore, MeteredModel
from threadkeeper.chat.model import Model
from threadkeeper.chat.providers import OPENAI_BASE_URL, create_model
from threadkeeper.chat.providers.endings import SentEndings, never_sent, stored_endings
from threadkeeper.chat.providers.listing import ModelListServer
from threadkeeper.chat.trying import Trial
from threadkeeper.knowledge.asking import KnowledgeRetriever
from threadkeeper.knowledge.loaders.base import LoadOptions
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.logs import Redaction
from threadkeeper.offered_models import OfferedModels
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.settings.settings import Settings, SettingsError, plain
from threadkeeper.settings.urls import mask_url
from threadkeeper.tracing.environment import problem as telemetry_problem

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.knowledge.service import KnowledgeService
    from threadkeeper.tracing.export import Exporting

# The least score of an answer with a model that nobody has measured; a training finds a better one.
_SERVER_THRESHOLD = 0.2
# Of the extra `knowledge`, whatever embeds.
_PACKAGES = ("numpy", "semantic_text_splitter")


def open_telemetry(settings: Settings) -> "Exporting | None":
    """Makes and sends traces from now on; None if TELEMETRY is off.

    Raises:
        SettingsError: a package is not installed, or a variable of OpenTelemetry has a value that cannot be used.
    """
    if not settings.telemetry:
        return None
    if why := telemetry_problem():
        raise SettingsError(why)
    from threadkeeper.tracing.export import Exporting  # noqa: PLC0415  only with TELEMETRY

    try:
        return Exporting(takes_texts=settings.telemetry_texts)
    except ValueError as error:
        raise SettingsError(f"TELEMETRY cannot start with the variables OTEL_…: {error}") from None


def open_blobs(settings: Settings, url: str | None = None) -> BlobStore:
    """The file store of BLOB_URL, or the one at `url` with the same credentials.

    Raises:
        ConfigurationError: the settings contradict each other, or a package that the store needs is not installed.
    """
    options = BlobOptions(
        azure_connection_string=plain(settings.azure_storage_connection_string),
        azure_key=plain(settings.azure_storage_key),
        azure_sas=plain(settings.azure_storage_sas),
        azure_endpoint=settings.azure_storage_endpoint,
        s3_endpoint=settings.s3_endpoint_url,
        s3_region=settings.aws_region,
        s3_access_key_id=settings.aws_access_key_id,
        s3_secret_access_key=plain(settings.aws_secret_access_key),
        s3_session_token=plain(settings.aws_session_token),
    )
    return open_blob_store(url or settings.resolved_blob_url, options)


def unmetered_model(settings: Settings, sent_endings: SentEndings = never_sent) -> Model:
    """The model of the settings. Its calls are not stored."""
    return create_model(
        api_key=plain(settings.openai_api_key),
        base_url=settings.openai_base_url,
        azure_endpoint=settings.azure_openai_endpoint,
        azure_api_key=plain(settings.azure_openai_api_key),
        azure_api_version=settings.azure_openai_api_version,
        timeout_seconds=settings.openai_timeout_seconds,
        max_retries=settings.openai_max_retries,
        sent_endings=sent_endings,
    )


def open_model(settings: Settings, store: CallStore, secrets: Iterable[str]) -> Model:
    """The model, which stores its calls without these secrets.

    The demo is not metered: it calls no server.
    """
    model = unmetered_model(settings, stored_endings(store))
    if model.demo:
        return model
    return MeteredModel(
        model,
        store,
        zone=settings.usage_time_zone,
        window=settings.openai_context_tokens,
        keep_payloads=settings.usage_keep_payloads,
        redact=Redaction(secrets),
    )


def offered_models(settings: Settings, model: Model, layer: "ChainlitLayer") -> OfferedModels:
    """The models on offer in the chat: those of the settings, and what admins decided."""
    return OfferedModels(("demo",)) if model.demo else OfferedModels(settings.openai_models, layer)


def trial(settings: Settings, model: Model, offered: OfferedModels, retriever: Retriever | None = None) -> Trial:
    """Tries assistants with this model. `retriever` finds passages."""
    return Trial(
        model,
        offered=offered,
        default_prompt=settings.resolved_system_prompt(DEFAULT_SYSTEM_PROMPT),
        window=settings.openai_context_tokens,
        retriever=retriever,
    )


def model_lists(settings: Settings, secrets: Iterable[str] = ()) -> ModelLists:
    """Asks the servers of the settings which models they offer. None of these secrets is in their words."""
    servers = []
    if not settings.demo:
        server = chat_server(settings)
        servers.append(ListedServer("chat", server, mask_url(server.base_url)))
    if settings.knowledge_embedding_model and (url := settings.knowledge_embedding_base_url):
        server = ModelListServer(url, plain(settings.knowledge_embedding_api_key))
        servers.append(ListedServer("embedding", server, mask_url(url)))
    return ModelLists(servers, redact=Redaction(secrets))


def chat_server(settings: Settings) -> ModelListServer:
    """The list of the server that answers, which is configured."""
    if settings.azure_openai_endpoint:
        key, version = plain(settings.azure_openai_api_key), settings.azure_openai_api_version
        return ModelListServer(settings.azure_openai_endpoint, key, version)
    return ModelListServer(settings.openai_base_url or OPENAI_BASE_URL, plain(settings.openai_api_key))


def open_knowledge(
    settings: Settings, layer: "ChainlitLayer", secrets: Iterable[str], *, worker_idle_seconds: float = 300.0
) -> "KnowledgeService":
    """What trains assistants and finds passages. Its calls are stored without these secrets. Nothing is loaded yet.

    Raises:
        NoKnowledge: packages are not installed, or the embedding model has no server.
        SettingsError: a `KNOWLEDGE_HEADER_…` is not valid.
    """
    from threadkeeper.knowledge.chunks import ChunkSettings  # noqa: PLC0415  only assistants with knowledge need it
    from threadkeeper.knowledge.embedding.base import EmbeddingModel  # noqa: PLC0415
    from threadkeeper.knowledge.embedding.embedder import Embedder  # noqa: PLC0415
    from threadkeeper.knowledge.embedding.local import (  # noqa: PLC0415
        DIMENSIONS,
        MODEL,
        THRESHOLD,
        WINDOW,
        LocalModel,
        is_installed,
    )
    from threadkeeper.knowledge.fetching.base import FetchSettings  # noqa: PLC0415
    from threadkeeper.knowledge.fetching.hosts import url_hosts  # noqa: PLC0415
    from threadkeeper.knowledge.service import KnowledgeService  # noqa: PLC0415
    from threadkeeper.knowledge.training import KnowledgeSettings  # noqa: PLC0415
    from threadkeeper.knowledge.worker_process import EmbeddingWorker  # noqa: PLC0415
    from threadkeeper.settings.fetch_headers import fetch_headers  # noqa: PLC0415

    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise NoKnowledge(f"Install threadkeeper[knowledge]: the packages {', '.join(missing)} are not installed.")
    worker = EmbeddingWorker(worker_idle_seconds)
    usual = settings.knowledge_embedding_model

    @cache
    def metered_server() -> Model:
        """Of all models, so that there is one pool of connections."""
        return metered(_embedding_server(settings))

    def metered(model: Model) -> Model:
        return MeteredModel(model, layer, zone=settings.usage_time_zone, keep_payloads=False, redact=Redaction(secrets))

    def open_embedder(name: str) -> Embedder:
        if name == MODEL:
            if not is_installed():
                raise NoKnowledge(
                    "Install threadkeeper[knowledge]: the embedding model of this machine is not installed."
                )
            model: Model = metered(LocalModel(worker))
            described = EmbeddingModel(MODEL, DIMENSIONS, THRESHOLD, is_local=True, window=WINDOW)
        else:
            model = metered_server()
            if model.demo:
                raise NoKnowledge(f"The embedding model {name} needs a server: set KNOWLEDGE_EMBEDDING_BASE_URL.")
            dimensions = settings.knowledge_embedding_dimensions if name == usual else None
            described = EmbeddingModel(name, dimensions, _SERVER_THRESHOLD, window=0)
        return Embedder(model, described, asks_dimensions=not described.is_local and bool(described.dimensions))

    fetching = FetchSettings(
        url_hosts(settings.knowledge_url_hosts),
        fetch_headers(),
        settings.knowledge_fetch_seconds,
        settings.knowledge_max_megabytes,
        settings.knowledge_fetch_pages,
    )
    chunks = ChunkSettings(settings.knowledge_chunk_tokens, settings.knowledge_chunk_overlap)
    return KnowledgeService(
        layer,
        open_embedder(usual or MODEL),
        worker,
        KnowledgeSettings(chunks, load_limits(settings), settings.knowledge_keep_trainings, fetching),
        open_embedder,
    )


def _embedding_server(settings: Settings) -> Model:
    """The server that embeds; the demo if none is configured."""
    has_own_server = settings.knowledge_embedding_base_url is not None
    key = settings.knowledge_embedding_api_key if has_own_server else settings.openai_api_key
    return create_model(
        api_key=plain(key),
        base_url=settings.knowledge_embedding_base_url or settings.openai_base_url,
        azure_endpoint=None if has_own_server else settings.azure_openai_endpoint,
        azure_api_key=plain(settings.azure_openai_api_key),
        azure_api_version=settings.azure_openai_api_version,
        timeout_seconds=settings.openai_timeout_seconds,
        max_retries=settings.openai_max_retries,
        embeds=True,
    )


def load_limits(settings: Settings) -> LoadLimits:
    """The limits of the files that assistants know."""
    return LoadLimits(
        settings.knowledge_load_seconds,
        settings.knowledge_max_megabytes,
        LoadOptions(max_pages=settings.knowledge_max_pages, max_rows=settings.knowledge_max_rows),
    )


def embeds_here(settings: Settings) -> bool:
    """Whether the model of this machine embeds, without a key and without a call to a server."""
    from threadkeeper.knowledge.embedding.local import is_installed  # noqa: PLC0415

    return not settings.knowledge_embedding_model and is_installed() and all(map(find_spec, _PACKAGES))


def knowledge_on_demand(settings: Settings, layer: "ChainlitLayer", secrets: Iterable[str]) -> KnowledgeOnDemand:
    """The knowledge of this process, for the chat, the pages and the jobs. It is opened at its first use."""
    return KnowledgeOnDemand(partial(open_knowledge, settings, layer, list(secrets)))


def retriever(
    settings: Settings, layer: "ChainlitLayer", knowledge: KnowledgeOnDemand, model: Model
) -> KnowledgeRetriever:
    """Finds passages for the chat and for the trial of assistants. `model` rewrites follow-up questions."""
    return KnowledgeRetriever(knowledge, layer, model, rewrite_model=settings.title_model)


def review_policy(settings: Settings) -> ReviewPolicy:
    return ReviewPolicy(
        labels=settings.review_labels,
        reasons=settings.review_reasons,
        asks_purpose=settings.review_ask_purpose,
        sample_percent=settings.review_sample_percent,
        lock_seconds=settings.review_lock_minutes * 60,
        pseudonym_key=(plain(settings.review_pseudonym_key) or "").encode() or None,
    )
