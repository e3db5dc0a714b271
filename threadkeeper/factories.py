"""Creates the file store, the metered model and the review policy from the settings. Opens no connection."""

from collections.abc import Iterable

from datalayer import BlobOptions, BlobStore, open_blob_store
from threadkeeper.chat.assistants import Retriever
from threadkeeper.chat.context.history import DEFAULT_SYSTEM_PROMPT
from threadkeeper.chat.metering.metered_model import CallStore, MeteredModel
from threadkeeper.chat.model import Model
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.endings import SentEndings, never_sent, stored_endings
from threadkeeper.chat.trying import Trial
from threadkeeper.logs import Redaction
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.settings.settings import Settings, plain


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


def trial(settings: Settings, model: Model, retriever: Retriever | None = None) -> Trial:
    """Tries assistants with this model. `retriever`: finds passages; None if there is no knowledge."""
    return Trial(
        model,
        models=("demo",) if model.demo else settings.openai_models,
        default_prompt=settings.resolved_system_prompt(DEFAULT_SYSTEM_PROMPT),
        window=settings.openai_context_tokens,
        retriever=retriever,
    )


def review_policy(settings: Settings) -> ReviewPolicy:
    return ReviewPolicy(
        labels=settings.review_labels,
        reasons=settings.review_reasons,
        asks_purpose=settings.review_ask_purpose,
        sample_percent=settings.review_sample_percent,
        lock_seconds=settings.review_lock_minutes * 60,
        pseudonym_key=(plain(settings.review_pseudonym_key) or "").encode() or None,
    )
