"""`threadkeeper knowledge url` and `api`: data sources that a training fetches."""

from typing import Annotated, Any

import typer

from threadkeeper.commands.knowledge_store import LANGUAGE, KnowledgeStore, Slug, say_put, say_started, with_knowledge
from threadkeeper.commands.terminal import end, settings_or_end
from threadkeeper.knowledge.addresses import AddressKind, put_address
from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.source_acts import SourceChange
from threadkeeper.knowledge.wording import say_fetch_failed

Address = Annotated[
    str, typer.Argument(help="The address. Its host must be in KNOWLEDGE_URL_HOSTS.", show_default=False)
]
Title = Annotated[str, typer.Option(help="The name of the source. By default, its address.")]
Header = Annotated[
    str | None, typer.Option(help="The variable KNOWLEDGE_HEADER_… whose header is sent.", metavar="VARIABLE")
]


def add_page(slug: Slug, address: Address, *, title: Title = "", header: Header = None) -> None:
    """Add a web page or a file at an address, or change the one of this address. A training fetches it."""
    _put(slug, "url", title, {"address": address, "header": header})


def add_api(
    slug: Slug,
    address: Address,
    *,
    title: Title = "",
    header: Header = None,
    records: Annotated[str | None, typer.Option(help="The path to the list of records, as data.items.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="A path to a field that is taken; repeat it. By default, all.")
    ] = None,
    record_title: Annotated[str | None, typer.Option(help="The path to the title of a record.")] = None,
    record_id: Annotated[str | None, typer.Option(help="The path to the id of a record.")] = None,
    suggestion: Annotated[str | None, typer.Option(help="The path to a question for a record.")] = None,
    next_page: Annotated[str | None, typer.Option("--next", help="The path to the address of the next answer.")] = None,
    page: Annotated[str | None, typer.Option(help="The parameter of the address that counts the pages.")] = None,
) -> None:
    """Add an HTTP API that gives JSON, or change the one of this address. Each record is a document."""
    options = {
        "address": address,
        "header": header,
        "records": records,
        "columns": tuple(column or ()),
        "title": record_title,
        "record_id": record_id,
        "suggestion": suggestion,
        "next": next_page,
        "page": page,
    }
    _put(slug, "api", title, options)


def _put(slug: str, kind: AddressKind, title: str, options: dict[str, Any]) -> None:
    settings = settings_or_end()
    places = Places(url_hosts(settings.knowledge_url_hosts))

    async def put(store: KnowledgeStore) -> SourceChange:
        return await put_address(store, slug, kind, options, places, title=title)

    try:
        change = with_knowledge(put, settings)
    except FetchFailed as failed:
        end(say_fetch_failed(failed.kind, failed.values, LANGUAGE), 1)
    say_put(change, change.source.title)
    say_started(change.training)
    if change.training is None:
        typer.echo(f"To train: `threadkeeper knowledge train {slug}`.")
