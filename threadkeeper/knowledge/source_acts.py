"""What the owner of an assistant does with its data sources: add, change, replace and remove them.

The pages and the command line share these acts, which require what those of `acts` do.
"""

from __future__ import annotations

import mimetypes
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

from datalayer.errors import BlobNotFound, NotFound
from datalayer.knowledge.kept_sources import sha256_of
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import DataSource, Training
from threadkeeper.knowledge.acts import KnowledgeActs, demand_editable, train_after_change
from threadkeeper.knowledge.checking import check_file
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loaders.formats import SourceKind
from threadkeeper.knowledge.loading import LoadLimits


@dataclass(frozen=True, slots=True)
class NewSource:
    """A file that is to be a data source.

    Args:
        kind: what the file is to the source.
        title: the name of the file. Its ending decides between formats of text.
        content: of the file.
        options: of a datasheet, as in `LoadOptions`: columns, record_id, suggestion, sheet. Without any, those of the
            source that it replaces stay.
    """

    kind: SourceKind
    title: str
    content: bytes = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What became of a file: the source as it is stored, and what was done.

    `taken` says what of the file is taken; it is None for a table, which is loaded in the training, and for an
    unchanged source. `training` is the one that the change started.
    """

    source: DataSource
    done: Literal["added", "replaced", "unchanged"]
    taken: Taken | None = None
    training: Training | None = None


async def put_source(
    layer: KnowledgeActs,
    slug: str,
    new: NewSource,
    limits: LoadLimits,
    *,
    trains: bool = True,
    started_by: str | None = None,
) -> SourceChange:
    """Check a file and store it as a data source; it replaces the source of the same kind and title.

    Args:
        layer: stores it.
        slug: the assistant.
        new: the file.
        limits: of the check, as of a training.
        trains: start a training if the assistant trains on change. After the last of several changes,
            `train_after_change` does so.
        started_by: the id of the user who starts that training.

    Raises:
        LoadRefused: the file cannot be loaded, or lacks the columns that were chosen before; `wording.say_refused` says
            why.
        NotFound: there is no such assistant.
        Forbidden: the acting user may not edit the assistant.
        BlobError: the file could not be stored, or the stored one not looked for.
    """
    await demand_editable(layer, slug)
    title = " ".join(new.title.split())
    given = stored_options(new.options)
    with acting_as(SYSTEM):
        old = await layer.find_source(slug, new.kind, title=title)
        options = given or (old.options if old is not None else {})
        if old is not None and old.options == options and await _has_this(layer, old, new.content):
            return SourceChange(old, "unchanged")
        taken = await check_file(new.kind, title, new.content, limits, options)
        mime = mimetypes.guess_type(title)[0]
        if old is None:
            stored = await layer.put_source(
                DataSource(str(uuid.uuid4()), slug, new.kind, title, options), new.content, mime
            )
        else:
            stored = await layer.change_source(
                old.id, lambda one: replace(one, options=given or one.options), new.content, mime
            )
    started = await train_after_change(layer, slug, started_by) if trains else None
    return SourceChange(stored, "added" if old is None else "replaced", taken, started)


async def replace_file(
    layer: KnowledgeActs,
    slug: str,
    source_id: str,
    content: bytes,
    limits: LoadLimits,
    *,
    name: str | None = None,
    replaces: str | None = None,
    started_by: str | None = None,
) -> SourceChange:
    """Check a file and store it in place of that of a data source, whose title and options stay.

    Args:
        layer: stores it.
        slug: the assistant.
        source_id: the data source.
        content: of the file.
        limits: of the check, as of a training.
        name: of the file; the title gets its ending, which decides between formats of text. None keeps the title.
        replaces: the checksum of the file that the new one is based on; None replaces any.
        started_by: the id of the user who starts the training, if the assistant trains on change.

    Raises:
        SourceChanged: the stored file is another than `replaces`.
        LoadRefused: the file cannot be loaded; `wording.say_refused` says why.
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
        BlobError: the file could not be stored, or the stored one not looked for.
    """

    def named(one: DataSource) -> DataSource:
        return one if name is None else replace(one, title=_with_ending(one.title, PurePath(name).suffix))

    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        old = await demand_source(layer, slug, source_id)
        new = named(old)
        if new == old and await _has_this(layer, old, content):
            return SourceChange(old, "unchanged")
        taken = await check_file(new.kind, new.title, content, limits, new.options)  # type: ignore[arg-type]
        mime = mimetypes.guess_type(new.title)[0]
        stored = await layer.change_source(source_id, named, content, mime, replaces)
    started = await train_after_change(layer, slug, started_by)
    return SourceChange(stored, "replaced", taken, started)


def _with_ending(title: str, ending: str) -> str:
    old = PurePath(title).suffix
    return title if old.lower() == ending.lower() else f"{title.removesuffix(old)}{ending}"


async def _has_this(layer: KnowledgeActs, source: DataSource, content: bytes) -> bool:
    """Whether a source has this file, and the file is in the store."""
    return source.sha256 == await sha256_of(content) and await _has_file(layer, source)


async def _has_file(layer: KnowledgeActs, source: DataSource) -> bool:
    """Whether the file of a source is in the store; one byte of it is asked for."""
    if source.object_key is None:
        return False
    try:
        async with await layer.blobs.open(source.object_key, 0, 1):
            return True
    except BlobNotFound:
        return False


async def change_source(
    layer: KnowledgeActs,
    slug: str,
    source_id: str,
    *,
    title: str | None = None,
    options: Mapping[str, Any] | None = None,
    started_by: str | None = None,
) -> DataSource:
    """Give a data source another title, or a datasheet other columns; what is None stays, and so does its file.

    A change starts a training if the assistant trains on change; `started_by` is the id of the user who starts it.

    Raises:
        InvalidRecord: the title is empty.
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
    """

    def with_changes(one: DataSource) -> DataSource:
        if title is not None:
            one = replace(one, title=" ".join(title.split()))
        return one if options is None else replace(one, options=stored_options(options))

    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        before = await demand_source(layer, slug, source_id)
        changed = await layer.change_source(source_id, with_changes)
    # Passages are found by the title of their document too, and citations show it.
    if (changed.title, changed.options) != (before.title, before.options):
        await train_after_change(layer, slug, started_by)
    return changed


def stored_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are read again: what is not chosen is left out, and JSON has no tuples."""
    return {name: list(one) if isinstance(one, tuple) else one for name, one in options.items() if one}


async def remove_source(
    layer: KnowledgeActs, slug: str, source_id: str, *, trains: bool = True, started_by: str | None = None
) -> Training | None:
    """Delete a data source. Nothing of it is found any more, at once. Returns the training that this started.

    `trains` and `started_by` are those of `put_source`.

    Raises:
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        await demand_source(layer, slug, source_id)
        await layer.delete_source(source_id)
    return await train_after_change(layer, slug, started_by) if trains else None


async def demand_source(layer: KnowledgeActs, slug: str, source_id: str) -> DataSource:
    """The source of an assistant. For the system. Raises NotFound if it has none of this id."""
    found = await layer.get_source(source_id)
    if found is None or found.assistant_id != slug:
        raise NotFound(f"the assistant {slug!r} has no data source {source_id}")
    return found
