"""`threadkeeper knowledge`: add, list and remove the data sources of an assistant, and train it.

The servers train; these commands check and store files, and start, list and cancel trainings.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datalayer.errors import NotFound
from datalayer.records.knowledge import RUNNING, DataSource, SourceResult, Training
from datalayer.records.usage import plain_amount
from threadkeeper.commands.knowledge_addresses import add_api, add_page
from threadkeeper.commands.knowledge_store import (
    LANGUAGE,
    KnowledgeStore,
    Slug,
    say_put,
    say_started,
    with_knowledge,
)
from threadkeeper.commands.terminal import end, settings_or_end, show_table
from threadkeeper.knowledge import acts, source_acts
from threadkeeper.knowledge.loaders.formats import SourceKind
from threadkeeper.knowledge.loading import LoadLimits, LoadRefused
from threadkeeper.knowledge.source_acts import NewSource, SourceChange
from threadkeeper.knowledge.wording import say_refused
from threadkeeper.language.numbers import counted

if TYPE_CHECKING:
    pass

knowledge_app = typer.Typer(
    no_args_is_help=True, help="Add, list and remove what an assistant knows from, and train it."
)

_LOOK_SECONDS = 1.0
_PATIENCE = 30
"""Looks at a training that no server begins, before that is told."""
_MOST_DOCUMENTS = 10_000
_SHOWN_ID = 8


@knowledge_app.command("add")
def add_files(
    slug: Slug,
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with files.", show_default=False)],
) -> None:
    """Add files, or replace those of the same name: PDF, Word, Excel, OpenDocument, CSV, Markdown, HTML, JSON, text.

    A file in a folder is named by its path in the folder. Hidden files are left out. A file that cannot be read is not
    stored; the others are. Then the exit code is 1.
    """
    found = [file for path in paths for file in _files_of(path)]
    if not found:
        end("There is no file to add: the folders are empty.", 1)
    _put(slug, "file", found, {})


@knowledge_app.command("pairs")
def add_pairs(
    slug: Slug,
    files: Annotated[list[Path], typer.Argument(help="CSV files.", show_default=False)],
) -> None:
    """Add questions and answers from CSV, or replace those of a file of the same name.

    The columns `question` and `answer` are taken, or else the first two. Each pair is a document.
    """
    _put(slug, "pairs", [(file.name, file) for file in files], {})


@knowledge_app.command("datasheet")
def add_datasheet(
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="A CSV file or a workbook.", show_default=False)],
    *,
    column: Annotated[
        list[str] | None, typer.Option(help="A column that is taken; repeat it. By default, all.", show_default=False)
    ] = None,
    record_id: Annotated[
        str | None, typer.Option(help="The column that names the rows. By default, they are numbered.")
    ] = None,
    suggestion: Annotated[str | None, typer.Option(help="The column with a question for each row.")] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook. By default, the first.")] = None,
) -> None:
    """Add a table of which each row is a document, or replace the one of the same name. The first row names columns."""
    options = {"columns": tuple(column or ()), "record_id": record_id, "suggestion": suggestion, "sheet": sheet}
    _put(slug, "datasheet", [(file.name, file)], options)


knowledge_app.command("url")(add_page)
knowledge_app.command("api")(add_api)


@knowledge_app.command("list")
def list_sources(slug: Slug) -> None:
    """List the data sources of an assistant, with what the current training took of them."""

    async def read(store: KnowledgeStore) -> tuple[list[DataSource], dict[str, tuple[SourceResult, Any]]]:
        await acts.demand_editable(store, slug)
        current = await store.current_training(slug)
        return await store.list_sources(slug), await store.trained_sources(current.id) if current else {}

    sources, trained = with_knowledge(read)
    rows = [
        (
            one.id[:_SHOWN_ID],
            one.kind,
            one.title,
            f"{one.byte_size or 0:,}",
            (one.updated_at or "")[:19] + "Z",
            _trained(one, trained.get(one.id)),
        )
        for one in sources
    ]
    header = ("Id", "Kind", "Name", "Bytes", "Changed", "Documents trained")
    show_table(header, rows, empty=f"The assistant {slug} has no data source. `threadkeeper knowledge add` adds files.")


@knowledge_app.command("remove")
def remove_sources(
    slug: Slug,
    names: Annotated[
        list[str], typer.Argument(help="Ids or names, as `knowledge list` shows them.", show_default=False)
    ],
) -> None:
    """Remove data sources. Nothing of them is found any more, at once."""

    async def remove(store: KnowledgeStore) -> tuple[list[DataSource], Training | None]:
        await acts.demand_editable(store, slug)
        chosen = _chosen(await store.list_sources(slug), names, slug)
        for source in chosen:
            await source_acts.remove_source(store, slug, source.id, trains=False)
        return chosen, await acts.train_after_change(store, slug)

    removed, training = with_knowledge(remove)
    for source in removed:
        typer.echo(f"Removed {source.title}.")
    say_started(training)


@knowledge_app.command("train")
def train(
    slug: Slug,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended. Exit code 1 if it failed.")] = False,
) -> None:
    """Train an assistant: a server makes its sources answer. Unchanged documents are not embedded again."""

    async def start(store: KnowledgeStore) -> Training:
        training = await acts.start_training(store, slug)
        typer.echo(f"Training {training.number} of the assistant {slug} is started. A server runs it within seconds.")
        return await _ended(store, training) if wait else training

    training = with_knowledge(start)
    if not wait:
        return
    counts = training.counts
    if training.state != "success":
        why = f": {training.error.rstrip('.')}" if training.error else ""
        end(f"Training {training.number} is {training.state}{why}.", 1)
    typer.echo(
        f"Training {training.number} answers now: {counted(counts.documents, 'document')} "
        f"({counts.reused_documents:,} unchanged), {counted(counts.passages, 'passage')}."
    )
    if counts.failed_documents:
        typer.echo(
            f"Sources that could not be read: {counts.failed_documents}. See `threadkeeper knowledge list {slug}`."
        )


@knowledge_app.command("trainings")
def list_trainings(
    slug: Slug, limit: Annotated[int, typer.Option(help="How many, from the newest.", min=1, max=500)] = 20
) -> None:
    """List the trainings of an assistant, newest first.

    A training is new, training, success, failed or cancelled. The one with a star answers.
    """
    found = with_knowledge(lambda store: acts.list_trainings(store, slug, limit))
    header = (
        "Number",
        "State",
        "Started",
        "Ended",
        "Sources",
        "Documents",
        "Unchanged",
        "Passages",
        "Tokens",
        "Cost",
        "Error",
    )
    show_table(header, map(_training_row, found), empty=f"The assistant {slug} was never trained.")


@knowledge_app.command("cancel")
def cancel(slug: Slug) -> None:
    """Cancel the training of an assistant that runs. What answered before still answers."""
    training = with_knowledge(lambda store: acts.cancel_training(store, slug))
    typer.echo(f"Training {training.number} of the assistant {slug} is cancelled.")


@knowledge_app.command("documents")
def list_documents(
    slug: Slug,
    *,
    source: Annotated[str | None, typer.Option(help="Only those of this source: its id or name.")] = None,
    limit: Annotated[int, typer.Option(help="How many, by title.", min=1, max=_MOST_DOCUMENTS)] = 200,
) -> None:
    """List the documents of the training that answers."""

    async def read(store: KnowledgeStore) -> list[tuple[str, ...]]:
        await acts.demand_editable(store, slug)
        sources = await store.list_sources(slug)
        chosen = None if source is None else _chosen(sources, [source], slug)[0].id
        current = await store.current_training(slug)
        if current is None:
            raise NotFound(f"the assistant {slug} was never trained with success")
        titles = {one.id: one.title for one in sources}
        return [
            (
                one.title,
                titles.get(one.source_id, one.source_id),
                one.record_id or "",
                str(one.pages or ""),
                f"{one.passages:,}",
                f"{one.words:,}",
                f"{one.characters:,}",
                one.suggestion or "",
            )
            for one in await store.list_documents(current.id, chosen, limit)
        ]

    header = ("Title", "Source", "Record", "Pages", "Passages", "Words", "Characters", "Suggestion")
    show_table(header, with_knowledge(read), empty="No documents.")


def _put(slug: str, kind: SourceKind, files: Sequence[tuple[str, Path]], options: dict[str, Any]) -> None:
    """Store the files as data sources of this kind, each under its name."""
    settings = settings_or_end()
    from threadkeeper.factories import load_limits

    limits, failed = load_limits(settings), 0

    async def put_all(store: KnowledgeStore) -> Training | None:
        nonlocal failed
        await acts.demand_editable(store, slug)
        for name, path in files:
            try:
                change = await _put_one(
                    store, slug, NewSource(kind, name, await _content(path, limits), options), limits
                )
            except LoadRefused as refused:
                typer.echo(say_refused(refused.refusal, name, limits, LANGUAGE, refused.missing), err=True)
                failed += 1
            except OSError as error:
                typer.echo(f"{path} cannot be read: {error.strerror}.", err=True)
                failed += 1
            else:
                say_put(change, name)
        return await acts.train_after_change(store, slug) if failed < len(files) else None

    training = with_knowledge(put_all, settings)
    say_started(training)
    if failed:
        end(f"{failed} of {counted(len(files), 'file was', 'files were')} not added.", 1)
    if training is None:
        typer.echo(f"To train: `threadkeeper knowledge train {slug}`.")


async def _put_one(store: KnowledgeStore, slug: str, new: NewSource, limits: LoadLimits) -> SourceChange:
    return await source_acts.put_source(store, slug, new, limits, trains=False)


async def _content(path: Path, limits: LoadLimits) -> bytes:
    """The bytes of a file. One that is too large is refused before it is read."""
    if (await asyncio.to_thread(path.stat)).st_size > limits.megabytes * 1024 * 1024:
        raise LoadRefused("too_large")
    return await asyncio.to_thread(path.read_bytes)


def _files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder, each with its path in it; a file itself, with its name. Hidden ones are left out."""
    if not path.is_dir():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        inner = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in inner.parts):
            yield inner.as_posix(), file


def _chosen(sources: Sequence[DataSource], names: Iterable[str], slug: str) -> list[DataSource]:
    """The sources with these ids, beginnings of ids, or names.

    Raises:
        NotFound: no source has this name, or several have.
    """
    chosen: dict[str, DataSource] = {}
    for name in names:
        found = [one for one in sources if name in (one.id, one.title)]
        found = found or [one for one in sources if len(name) >= _SHOWN_ID and one.id.startswith(name)]
        if not found:
            raise NotFound(f"the assistant {slug} has no data source {name}")
        if len(found) > 1:
            ids = ", ".join(one.id[:_SHOWN_ID] for one in found)
            raise NotFound(f"several data sources are named {name}: {ids}; give the id")
        chosen[found[0].id] = found[0]
    return list(chosen.values())


async def _ended(store: KnowledgeStore, training: Training) -> Training:
    """The training as soon as it has ended."""
    looks = 0
    while training.state in RUNNING:
        await asyncio.sleep(_LOOK_SECONDS)
        looks += 1
        if looks == _PATIENCE and training.state == "new":
            typer.echo("No server has begun it yet. Is one running?", err=True)
        found = next(
            (one for one in await acts.list_trainings(store, training.assistant_id) if one.id == training.id), None
        )
        if found is None:
            raise NotFound(f"the training {training.number} was deleted with its assistant")
        training = found
    return training


def _trained(source: DataSource, found: tuple[SourceResult, Any] | None) -> str:
    if found is None:
        return "no"
    result, options = found
    if not result.is_of(source, options):
        return "changed since"
    return f"no: {result.refused}" if result.refused else f"{result.documents:,}"


def _training_row(training: Training) -> tuple[str, ...]:
    counts, is_running = training.counts, training.state in RUNNING
    return (
        f"{training.number}{' *' if training.is_current else ''}",
        training.state,
        (training.started_at or training.created_at)[:19] + "Z",
        f"{training.finished_at[:19]}Z" if training.finished_at else "",
        f"{training.done_sources}/{training.expected_sources}" if is_running else str(training.done_sources),
        f"{counts.documents:,}",
        f"{counts.reused_documents:,}",
        f"{counts.passages:,}",
        f"{counts.tokens:,}",
        "" if counts.cost is None else f"${plain_amount(counts.cost)}",
        training.error or "",
    )
