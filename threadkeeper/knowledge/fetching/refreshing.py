"""Brings a data source up to date in a training. One that cannot be fetched keeps the content that is known of it."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from datalayer.cleaning import utc_now
from datalayer.errors import DataLayerError
from datalayer.records.knowledge import DataSource
from threadkeeper.knowledge.fetching.base import Fetched, Fetches, FetchFailed, FetchSettings

logger = logging.getLogger(__name__)


class FetchedStore(Protocol):
    """The part of the data layer that keeps what was fetched."""

    async def keep_fetched(
        self, source: DataSource, facts: dict[str, Any], content: bytes | None = None
    ) -> DataSource: ...


def open_fetcher(settings: FetchSettings) -> Fetches:
    """What fetches the data sources of one training."""
    from threadkeeper.knowledge.fetching.fetcher import Fetcher  # noqa: PLC0415  few trainings fetch

    return Fetcher(settings)


async def refreshed(store: FetchedStore, fetcher: Fetches, source: DataSource) -> tuple[DataSource, dict[str, Any]]:
    """Fetch a data source and store its content.

    Returns:
        The source with its content, the new one or that of before, and what to tell of it (`SourceResult.fetch`).
        Without an object key, there is no content.

    Raises:
        SourceChanged: it was deleted or changed meanwhile.
        BlobError: the content could not be stored.
    """
    try:
        fetched = await _fetched(fetcher, source)
    except FetchFailed as failed:
        logger.warning("the data source %s was not fetched: %s", source.id, failed)
        facts = {"state": "failed", "kind": failed.kind, "values": failed.values, "at": utc_now()}
        return source, facts | {"kept": (source.fetched or {}).get("at")}
    stored = await store.keep_fetched(source, fetched.facts, fetched.content)
    state = "unchanged" if stored.sha256 == source.sha256 else "new"
    return stored, {"state": state, "at": fetched.facts["at"]}


async def _fetched(fetcher: Fetches, source: DataSource) -> Fetched:
    """What is fetched. What a foreign server answers must not fail the training of all the other sources."""
    try:
        return await fetcher.fetch(source)
    except (FetchFailed, DataLayerError):
        raise
    except Exception as error:
        logger.exception("the fetch of the data source %s has failed unexpectedly", source.id)
        raise FetchFailed("unexpected") from error


def name_of(source: DataSource) -> str:
    """The name whose suffix decides between formats of text."""
    suffix = (source.fetched or {}).get("suffix")
    return f"page{suffix or ''}" if source.kind == "url" else source.title
