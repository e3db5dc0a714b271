"""`threadkeeper prices`: what models cost by the operator's own knowledge; and `threadkeeper reprice`."""

from pathlib import Path
from typing import Annotated

import typer

from datalayer.cleaning import utc_now
from datalayer.usage_records import Price, plain_amount
from threadkeeper.chat.pricing import costs_of
from threadkeeper.commands.books import Books, amount_of, new_id, time_of, with_books
from threadkeeper.commands.price_files import PriceFileError, read_prices
from threadkeeper.commands.terminal import end, settings_or_end, show_table

prices_app = typer.Typer(
    no_args_is_help=True, help="Set and list prices of your own; they win over the published ones."
)

_HEADER = ("Id", "Model", "Provider", "Valid from", "Input", "Cached", "Output", "Image", "Ended")
Dollars = Annotated[str, typer.Option(help="US dollars for a million tokens.", show_default=False)]


@prices_app.command("list")
def list_prices() -> None:
    """List every price; of those that fit a call, the first is used. Dollars for a million tokens, or an image."""
    found = with_books(settings_or_end(), Books.list_prices)
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
        str | None, typer.Option(help="For this provider alone, as `openai`, `azure` or a host.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="First moment at which it is valid; else now.", show_default=False)
    ] = None,
) -> None:
    """Set what a model costs from now on, or from another time on."""
    settings = settings_or_end()
    price = Price(
        id=new_id(),
        pattern=model,
        valid_from=time_of(since, "--from") if since else utc_now(),
        input=amount_of(input, "--input"),
        output=amount_of(output, "--output"),
        cached=amount_of(cached, "--cached") if cached else None,
        image=amount_of(image, "--image") if image else None,
        provider=provider,
    )
    kept = with_books(settings, lambda books: books.add_price(price))
    typer.echo(f"{kept.pattern} has this price from {kept.valid_from} on. Price {kept.id}.")
    typer.echo("Calls before now keep theirs: `threadkeeper reprice --since DATE` prices them anew.")


@prices_app.command("end")
def end_price(price_id: Annotated[str, typer.Argument(help="As `prices list` shows it.", show_default=False)]) -> None:
    """Let a price hold no more, for past calls neither."""
    with_books(settings_or_end(), lambda books: books.deactivate_price(price_id))
    typer.echo("The price holds no more.")


@prices_app.command("import")
def import_prices(
    path: Annotated[Path, typer.Argument(help="A CSV file with a header, or a JSON list.", show_default=False)],
) -> None:
    """Add the prices of a file: all of them, or none where one is wrong.

    Columns, or keys: model, input, output, and if wanted cached, image, provider, valid_from.
    """
    settings = settings_or_end()
    try:
        prices = read_prices(path, utc_now())
    except PriceFileError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        end(f"Nothing was imported from {path}.", 1)
    with_books(settings, lambda books: books.add_prices(prices))
    typer.echo(f"Imported {len(prices)} price{'' if len(prices) == 1 else 's'}.")


def reprice(
    since: Annotated[str, typer.Option(help="First day, or moment, whose calls may change.", show_default=False)],
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
) -> None:
    """Price calls anew by the prices that are known today for their time; a dry run first."""
    settings, begin = settings_or_end(), time_of(since, "--since")

    async def work(books: Books) -> None:
        own = await books.list_prices()
        done = await books.reprice(begin, lambda call: costs_of(call, own), dry_run=not apply)
        verb = "got" if apply else "would get"
        typer.echo(f"{done.calls} calls since {begin}: {done.changed} {verb} another cost.")
        difference = done.after - done.before
        sign = "-" if difference < 0 else "+"
        typer.echo(
            f"They came to ${plain_amount(done.before)} and "
            f"{'come' if apply else 'would come'} to ${plain_amount(done.after)}: "
            f"{sign}${plain_amount(abs(difference))}."
        )
        if not apply and done.changed:
            typer.echo("A dry run: nothing was changed. `threadkeeper reprice --apply` does it.")

    with_books(settings, work)


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
