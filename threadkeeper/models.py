"""The model that the settings name, with the books kept of every call to it."""

from collections.abc import Iterable
from functools import partial

from threadkeeper.chat.later import LaterModel
from threadkeeper.chat.llm import Model, create_model
from threadkeeper.chat.metering import CallStore, MeteredModel
from threadkeeper.logs import Redaction
from threadkeeper.settings import Settings, plain


def open_model(settings: Settings, store: CallStore, secrets: Iterable[str]) -> Model:
    """The model, whose calls are kept in the store without these secrets; nothing is connected to yet.

    The demo calls no model, so there is nothing to account for.
    """
    make = partial(
        create_model,
        api_key=plain(settings.openai_api_key),
        base_url=settings.openai_base_url,
        azure_endpoint=settings.azure_openai_endpoint,
        azure_api_key=plain(settings.azure_openai_api_key),
        azure_api_version=settings.azure_openai_api_version,
        timeout_seconds=settings.openai_timeout_seconds,
        max_retries=settings.openai_max_retries,
    )
    if not (settings.azure_openai_endpoint or settings.openai_api_key or settings.openai_base_url):
        return make()
    return MeteredModel(
        LaterModel(make),
        store,
        zone=settings.usage_time_zone,
        window=settings.openai_context_tokens,
        keep_payloads=settings.usage_keep_payloads,
        redact=Redaction(secrets),
    )
