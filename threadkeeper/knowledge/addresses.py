"""What the owner of an assistant does with data sources that have an address: add and change them.

Nothing is fetched here: a training does.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import DataSource
from threadkeeper.knowledge.acts import KnowledgeActs, demand_editable, train_after_change
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.source_acts import SourceChange, demand_source, stored_options

AddressKind = Literal["url", "api"]


async def put_address(
    layer: KnowledgeActs,
    slug: str,
    kind: AddressKind,
    options: Mapping[str, Any],
    places: Places,
    *,
    title: str = "",
    source_id: str | None = None,
    started_by: str | None = None,
) -> SourceChange:
    """Store a data source with an address; it replaces the one of the same kind and address.

    Args:
        layer: stores it.
        slug: the assistant.
        kind: a page, or an HTTP API.
        options: its address, and what docs/fetching.md lists.
        places: from which may be fetched.
        title: of a new source; without one, the address without its query.
        source_id: the source that it replaces, whatever its address is.
        started_by: the id of the user who starts the training, if the assistant trains on change.

    Raises:
        FetchFailed: the address cannot be used, or is of no listed host; `wording.say_fetch_failed` says why.
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
    """
    await demand_editable(layer, slug)
    address = str(places.parse(str(options.get("address") or "")))
    stored = stored_options({**options, "address": address})
    with acting_as(SYSTEM):
        old: DataSource | None
        if source_id is not None:
            old = await demand_source(layer, slug, source_id)
        else:
            old = await layer.find_source(slug, kind, address=address)
        named = " ".join(title.split())

        def changed(one: DataSource) -> DataSource:
            return replace(one, title=named or one.title, options=stored)

        if old is not None and old == changed(old):
            return SourceChange(old, "unchanged")
        if old is None:
            # Citations show the title to users, and a query can have a key.
            kept = await layer.put_source(
                DataSource(str(uuid.uuid4()), slug, kind, named or address.partition("?")[0], stored)
            )
        else:
            kept = await layer.change_source(old.id, changed)
    training = await train_after_change(layer, slug, started_by)
    return SourceChange(kept, "added" if old is None else "replaced", training=training)
