"""`threadkeeper prices`: the operator's own prices of models; and `threadkeeper reprice`."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from datalayer.cleaning import utc_now
from datalayer.records.billing import Repricing
from datalayer.records.usage import Price, plain_amount
from threadkeeper.commands.database import UsageStore, amount_of, new_id, time_for_display, time_of, with_usage
from threadkeeper.commands.terminal import end, settings_or_end, show_table
from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import DEFAULT
from threadkeeper.language.numbers import counted
from threadkeeper.pricing.files import PriceFileError, read_prices
from threadkeeper.pricing.history import ChatServer
from threadkeeper.pricing.overriding import later_than
from threadkeeper.pricing.rates import rates_of
from threadkeeper.pricing.repricing import reprice as recalculate
from threadkeeper.settings.settings import Settings

prices_app = typer.Typer(no_args_is_help=True, help="Set and list your own prices. They override published prices.")

_HEADER = ("ID", "Model", "Provider", "Valid from", "Input", "Cached", "Output", "Image", "State")
Dollars = Annotated[str, typer.Option(help="US dollars per million tokens.", show_default=False)]


@prices_app.command("list")
def list_prices() -> None:
    """List all prices, in US dollars per million tokens or per image. The first matching price of a call is used.

    After your own prices: the published prices that apply to the configured
    models today, and the models without any price.
    """
    settings = settings_or_end()
    found = with_usage(settings, UsageStore.list_prices)
    show_table(_HEADER, [*map(_row, found), *_published_rows(settings, found)], empty="No prices.")


@prices_app.command("set")
def set_price(
    model: Annotated[str, typer.Argument(help="Regular expression for the whole name of the model.")],
    *,
    input: Dollars,  # noqa: A002  the option's name
    output: Dollars,
    cached: Annotated[
        str | None, typer.Option(help="US dollars per million cached input tokens. Default: --input.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="US dollars per image sent.")] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="Only for this provider: `openai`, `azure`, or a host without its port.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Date or time from which the price is valid. Default: now.", show_default=False),
    ] = None,
) -> None:
    """Set the price of a model."""
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
        return kept, later_than(kept, await store.list_prices())

    kept, later = with_usage(settings, add)
    typer.echo(f"Set the price of {kept.pattern} from {time_for_display(kept.valid_from, zone)}. Price {kept.id}.")
    for one in later:
        typer.echo(
            f"From {time_for_display(one.valid_from, zone)}, a price with a later --from overrides it: {one.pattern}, "
            f"price {one.id}. To end that price, run `threadkeeper prices end {one.id}`."
        )
    if kept.valid_from > now:
        typer.echo("Until then nothing changes.")
    elif since is None:
        typer.echo("Past calls keep their cost.")
        typer.echo("To include past calls, set it with `--from DATE`, then run `threadkeeper reprice --since DATE`.")
    else:
        typer.echo("Past calls keep their cost. To recalculate them, run `threadkeeper reprice --since DATE`.")


@prices_app.command("end")
def end_price(
    price_id: Annotated[str, typer.Argument(help="The ID, as shown by `prices list`.", show_default=False)],
) -> None:
    """End a price, so that it is no longer used.

    Past calls keep their cost until you run `threadkeeper reprice`. Even then,
    calls without another matching price keep it, unless you use --forget.
    """
    with_usage(settings_or_end(), lambda store: store.deactivate_price(price_id))
    typer.echo("Ended the price. Past calls keep their cost. To see their cost without this price, run")
    typer.echo("`threadkeeper reprice --since DATE --forget`.")


@prices_app.command("import")
def import_prices(
    path: Annotated[Path, typer.Argument(help="A .csv file with a header, or a .json list.", show_default=False)],
) -> None:
    """Add the prices of a file. If one is invalid, none is added.

    Columns or keys: model, input, output; optional: cached, image, provider, valid_from.
    """
    settings = settings_or_end()
    try:
        prices = read_prices(str(path), path.read_bytes(), utc_now(), settings.usage_time_zone)
    except OSError as error:
        end(f"Nothing was imported. Cannot read {path}: {error.strerror}.", 1)
    except PriceFileError as error:
        for problem in error.problems:
            typer.echo(problem.said(partial(PAGES.say, language=DEFAULT)), err=True)
        end(f"Nothing was imported from {path}.", 1)
    with_usage(settings, lambda store: store.add_prices(prices))
    typer.echo(f"Imported {counted(len(prices), 'price')}.")


def reprice(
    since: Annotated[str, typer.Option(help="Date or time of the first calls to recalculate.", show_default=False)],
    forget: Annotated[
        bool, typer.Option("--forget", help="Set the cost of calls without a current price to unknown.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes. Without this option: a dry run.")] = False,
) -> None:
    """Recalculate the cost of past calls from the prices known today. A dry run by default.

    Calls without a current price keep their cost, unless you use --forget.
    """
    settings = settings_or_end()
    zone = settings.usage_time_zone
    begin = time_of(since, "--since", zone)

    # A call stores only the host of the server.
    host = urlsplit(settings.openai_base_url).hostname if settings.openai_base_url else None
    server = ChatServer(host or "", settings.openai_base_url)

    async def work(store: UsageStore) -> Repricing:
        return await recalculate(store, server, begin, forget=forget, dry_run=not apply)

    done = with_usage(settings, work)
    for line in _report(done, time_for_display(begin, zone), forget=forget, apply=apply):
        typer.echo(line)
    if not apply and (done.changed or (forget and done.unlisted)):
        command = ["threadkeeper", "reprice", "--since", since, *(["--forget"] if forget else []), "--apply"]
        typer.echo(f"Dry run: nothing was changed. To apply, run `{shlex.join(command)}`.")


def _report(done: Repricing, begin: str, *, forget: bool, apply: bool) -> list[str]:
    """The report: how many calls were checked, and how their costs change (or would change)."""
    would = "" if apply else "would "
    left_out = f"; {done.without_tokens} without tokens skipped" if done.without_tokens else ""
    lines = [f"Checked {counted(done.calls, 'call')} with tokens since {begin}{left_out}."]
    if not done.changed:
        lines.append("No cost changed." if apply else "No cost would change.")
    else:
        changed = counted(done.changed, "call")
        lines.append(f"The cost of {changed} {would}change{'' if would else 'd'}: {_difference(done)}.")
    if done.unlisted:
        cost, unlisted = f"${plain_amount(done.unlisted_cost)}", counted(done.unlisted, "call")
        if forget:
            became = "became" if apply else "would become"
            lines.append(f"The cost of {unlisted} without a current price {became} unknown ({cost} before).")
        else:
            keep, their = ("keeps", "its") if done.unlisted == 1 else ("keep", "their")
            lines.append(
                f"{unlisted} without a current price {keep} {their} cost ({cost}). "
                f"Use --forget to set {'it' if done.unlisted == 1 else 'them'} to unknown."
            )
    return lines


def _difference(done: Repricing) -> str:
    if done.had_none == done.changed:
        return f"unknown → ${plain_amount(done.after)}"
    difference = done.after - done.before
    sign = "-" if difference < 0 else "+"
    unknown = f" (unknown for {done.had_none})" if done.had_none else ""
    return (
        f"${plain_amount(done.before)}{unknown} → ${plain_amount(done.after)} ({sign}${plain_amount(abs(difference))})"
    )


def _published_rows(settings: Settings, own: Sequence[Price]) -> list[tuple[str, ...]]:
    """A row for each configured model that none of one's own prices applies to today."""
    from threadkeeper.factories import unmetered_model

    model = unmetered_model(settings)
    if model.demo:
        return []
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys([*settings.openai_models, settings.title_model]):
        source = model.source
        rates = rates_of(own, model=name, when=utc_now(), provider=source.provider, base_url=source.base_url)
        if rates is None:
            rows.append(("", name, source.provider, "", "", "", "", "", "no price"))
        elif not rates.source.startswith("own "):
            amounts = map(plain_amount, (rates.input, rates.cached, rates.output))
            rows.append(("", name, source.provider, "", *amounts, "", rates.source))
    return rows


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
