"""`threadkeeper prices`: what models cost by the operator's own knowledge; and `threadkeeper reprice`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from datalayer.billing.prices import compile_pattern
from datalayer.cleaning import utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, Price, Repricing, plain_amount
from threadkeeper.chat.metering.pricing import Costs, costs_of
from threadkeeper.commands.database import UsageStore, amount_of, new_id, said_in, time_of, with_usage
from threadkeeper.commands.price_files import PriceFileError, read_prices
from threadkeeper.commands.terminal import end, settings_or_end, show_table
from threadkeeper.settings.settings import Settings

prices_app = typer.Typer(
    no_args_is_help=True, help="Set and list prices of your own; they win over the published ones."
)

_HEADER = ("Id", "Model", "Provider", "Valid from", "Input", "Cached", "Output", "Image", "Ended")
Dollars = Annotated[str, typer.Option(help="US dollars for a million tokens.", show_default=False)]


@prices_app.command("list")
def list_prices() -> None:
    """List every price; of those that fit a call, the first is used. Dollars for a million tokens, or an image."""
    found = with_usage(settings_or_end(), UsageStore.list_prices)
    show_table(_HEADER, [_row(price) for price in found])


@prices_app.command("set")
def set_price(
    model: Annotated[str, typer.Argument(help="Regular expression that matches the whole name of the model.")],
    *,
    input: Dollars,  # noqa: A002  the option's name
    output: Dollars,
    cached: Annotated[str | None, typer.Option(help="The same for cached input; else as input.")] = None,
    image: Annotated[str | None, typer.Option(help="US dollars for each image that is sent.")] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="For this provider alone: `openai`, `azure`, or a host without its port.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="First day, or moment, at which it is valid; else now.", show_default=False),
    ] = None,
) -> None:
    """Set what a model costs from now on, or from another time on."""
    settings, now = settings_or_end(), utc_now()
    zone = settings.usage_time_zone
    price = Price(
        id=new_id(),
        pattern=model,
        valid_from=time_of(since, "--from", zone) if since else now,
        input=amount_of(input, "--input"),
        output=amount_of(output, "--output"),
        cached=amount_of(cached, "--cached") if cached else None,
        image=amount_of(image, "--image") if image else None,
        provider=provider,
    )

    async def add(store: UsageStore) -> tuple[Price, list[Price]]:
        kept = await store.add_price(price)
        return kept, _later_than(kept, await store.list_prices())

    kept, later = with_usage(settings, add)
    typer.echo(f"{kept.pattern} has this price from {said_in(kept.valid_from, zone)} on. Price {kept.id}.")
    for one in later:
        typer.echo(
            f"From {said_in(one.valid_from, zone)} on another stands over it, as its --from is later: {one.pattern}, "
            f"price {one.id}. `threadkeeper prices end {one.id}` ends that one."
        )
    if kept.valid_from > now:
        typer.echo("Until then nothing changes.")
    else:
        typer.echo("Calls before now keep theirs: `threadkeeper reprice --since DATE` prices them anew.")


@prices_app.command("end")
def end_price(price_id: Annotated[str, typer.Argument(help="As `prices list` shows it.", show_default=False)]) -> None:
    """Let a price hold no more.

    Past calls keep what they cost by it until `threadkeeper reprice` prices them
    anew; those that no other price is for keep it even then, unless it is told
    to --forget.
    """
    with_usage(settings_or_end(), lambda store: store.deactivate_price(price_id))
    typer.echo("The price holds no more. Past calls keep what they cost by it:")
    typer.echo("`threadkeeper reprice --since DATE --forget` says what they would come to without it.")


@prices_app.command("import")
def import_prices(
    path: Annotated[Path, typer.Argument(help="A .csv file with a header, or a .json list.", show_default=False)],
) -> None:
    """Add the prices of a file: all of them, or none where one is wrong.

    Columns, or keys: model, input, output, and if wanted cached, image, provider, valid_from.
    """
    settings = settings_or_end()
    try:
        prices = read_prices(path, utc_now(), settings.usage_time_zone)
    except PriceFileError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        end(f"Nothing was imported from {path}.", 1)
    with_usage(settings, lambda store: store.add_prices(prices))
    typer.echo(f"Imported {len(prices)} price{'' if len(prices) == 1 else 's'}.")


def reprice(
    since: Annotated[str, typer.Option(help="First day, or moment, whose calls may change.", show_default=False)],
    forget: Annotated[
        bool, typer.Option("--forget", help="Let what calls cost be unknown where nobody knows their price any more.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
) -> None:
    """Price calls anew by the prices that are known today for their time; a dry run first.

    A call whose price nobody knows any more keeps what it cost, unless told to --forget it.
    """
    settings = settings_or_end()
    zone = settings.usage_time_zone
    begin = time_of(since, "--since", zone)

    async def work(store: UsageStore) -> Repricing:
        own = await store.list_prices()
        return await store.reprice(begin, lambda call: _costs_of(call, own, settings), forget=forget, dry_run=not apply)

    done = with_usage(settings, work)
    for line in _said(done, said_in(begin, zone), forget=forget, apply=apply):
        typer.echo(line)
    if not apply and (done.changed or (forget and done.unlisted)):
        command = ["threadkeeper", "reprice", "--since", since, *(["--forget"] if forget else []), "--apply"]
        typer.echo(f"A dry run: nothing was changed. `{shlex.join(command)}` does it.")


def _costs_of(call: LlmCall, own: Sequence[Price], settings: Settings) -> Costs | None:
    # A call keeps the host alone of who answered, and some published prices are for one path of a host.
    address = settings.openai_base_url
    is_there = address is not None and urlsplit(address).hostname == call.provider
    return costs_of(call, own, address if is_there else None)


def _said(done: Repricing, begin: str, *, forget: bool, apply: bool) -> list[str]:
    """What was looked at, and what has become, or would become, of it."""
    would = "" if apply else "would "
    left_out = f"; {done.without_tokens} without tokens left out" if done.without_tokens else ""
    said = [f"{_calls(done.calls)} with tokens since {begin}{left_out}."]
    if not done.changed:
        said.append(f"None {'got' if apply else 'would get'} another cost.")
    else:
        said.append(
            f"{_calls(done.changed)} {'got' if apply else 'would get'} another cost: {_difference(done, would)}."
        )
    if done.unlisted:
        cost = f"${plain_amount(done.unlisted_cost)}"
        if forget:
            became = "became" if apply else "would become"
            said.append(
                f"{_calls(done.unlisted)} at a price that is no longer listed {became} unknown ({cost} so far)."
            )
        else:
            keep, them = ("keeps", "it") if done.unlisted == 1 else ("keep", "them")
            said.append(
                f"{done.unlisted} {keep} a price that is no longer listed ({cost}); --forget makes {them} unknown."
            )
    return said


def _difference(done: Repricing, would: str) -> str:
    after = f"{would}come to ${plain_amount(done.after)}"
    if done.had_none == done.changed:
        return f"unknown so far, they {after}"
    difference = done.after - done.before
    sign = "-" if difference < 0 else "+"
    unknown = f" (unknown for {done.had_none})" if done.had_none else ""
    return f"they came to ${plain_amount(done.before)}{unknown}, and {after}: {sign}${plain_amount(abs(difference))}"


def _calls(number: int) -> str:
    return f"{number} call{'' if number == 1 else 's'}"


def _later_than(kept: Price, prices: Sequence[Price]) -> list[Price]:
    """The prices that take over from this one at a later time, as far as two patterns can be compared."""
    return [
        one
        for one in prices
        if one.is_active
        and one.valid_from > kept.valid_from
        and (None in (one.provider, kept.provider) or one.provider == kept.provider)
        and (_fits(one.pattern, kept.pattern) or _fits(kept.pattern, one.pattern))
    ]


def _fits(pattern: str, name: str) -> bool:
    """Whether it is for the model of this name, or says the same."""
    try:
        return pattern.lower() == name.lower() or compile_pattern(pattern).fullmatch(name) is not None
    except InvalidRecord:
        # Another program may have written it.
        return False


def _row(price: Price) -> tuple[str, ...]:
    amounts = (price.input, price.cached, price.output, price.image)
    return (
        price.id,
        price.pattern,
        price.provider or "any",
        price.valid_from,
        *("" if amount is None else plain_amount(amount) for amount in amounts),
        "" if price.is_active else "ended",
    )
