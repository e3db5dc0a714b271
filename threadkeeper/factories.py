"""The model that the settings name, with the books kept of every call to it."""

from collections.abc import Iterable

from threadkeeper.chat.metering.metered_model import CallStore, MeteredModel
from threadkeeper.chat.model import Model
from threadkeeper.chat.providers import create_model
from threadkeeper.logs import Redaction
from threadkeeper.settings.settings import Settings, plain


def open_model(settings: Settings, store: CallStore, secrets: Iterable[str]) -> Model:
    """The model, whose calls are kept in the store without these secrets; nothing is connected to yet.

    The demo calls no model, so there is nothing to account for.
    """
    model = create_model(
        api_key=plain(settings.openai_api_key),
        base_url=settings.openai_base_url,
        azure_endpoint=settings.azure_openai_endpoint,
        azure_api_key=plain(settings.azure_openai_api_key),
        azure_api_version=settings.azure_openai_api_version,
        timeout_seconds=settings.openai_timeout_seconds,
        max_retries=settings.openai_max_retries,
    )
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
