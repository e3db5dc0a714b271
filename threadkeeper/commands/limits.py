"""`threadkeeper limits`: what may be used in a day or a month."""

from typing import Annotated, Literal

import typer

from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.billing.limits import takes_the_place_of
from datalayer.cleaning import utc_now
from datalayer.errors import NotFound
from datalayer.records.usage import Limit, plain_amount
from threadkeeper.commands.database import UsageStore, amount_of, new_id, with_usage
from threadkeeper.commands.terminal import end, settings_or_end, show_table

limits_app = typer.Typer(no_args_is_help=True, help="Limit what users and projects may use, in tokens or dollars.")


@limits_app.command("list")
def list_limits() -> None:
    """List every limit, and how far those of a user or a project are used up now."""
    settings = settings_or_end()

    async def rows(store: UsageStore) -> list[tuple[str, ...]]:
        names = {user.id: f"user {user.identifier}" for user in await store.list_users()}
        names |= {project.id: f"project {project.slug}" for project in await store.list_projects()}
        found: list[tuple[str, ...]] = []
        for limit in await store.list_limits():
            used = ""
            if limit.subject_id is not None:
                whose = (limit.subject_id, None) if limit.scope == "user" else (None, limit.subject_id)
                standings = await store.limit_standings(*whose, zone=settings.usage_time_zone)
                used = next((plain_amount(one.used) for one in standings if one.limit.id == limit.id), "")
            subject = "each user" if limit.subject_id is None else names.get(limit.subject_id, "nobody who is there")
            found.append((limit.id, subject, plain_amount(limit.amount), limit.unit, limit.period, used))
        return found

    show_table(("Id", "For", "Amount", "Of", "A", "Used now"), with_usage(settings, rows))


@limits_app.command("set")
def set_limit(
    amount: Annotated[str, typer.Argument(help="The most that may be used.", show_default=False)],
    unit: Annotated[Literal["tokens", "dollars"], typer.Argument(help="Of what.", show_default=False)],
    period: Annotated[Literal["day", "month"], typer.Argument(help="In which time.", show_default=False)],
    user: Annotated[
        str | None, typer.Option(help="For this user, in place of the limit for each user.", show_default=False)
    ] = None,
    project: Annotated[str | None, typer.Option(help="For this project, by its slug.", show_default=False)] = None,
) -> None:
    """Set a limit: for a user, for a project, or else for each user.

    A user's own limit takes the place of the one for each user that is of the
    same unit and period, be it more or less. All others hold beside each other:
    tokens and dollars, day and month, user and project.
    """
    settings = settings_or_end()
    if user is not None and project is not None:
        end("A limit is for a user or for a project, not for both.", 1)
    most = amount_of(amount, "The amount")

    async def put(store: UsageStore) -> tuple[Limit, Limit | None]:
        scope: Literal["user", "users", "project"] = "user" if user else "project" if project else "users"
        subject = await _user_id(store, user) if user else await _project_id(store, project) if project else None
        kept = await store.put_limit(Limit(new_id(), scope, subject, period, unit, most, utc_now()))
        return kept, next((one for one in await store.list_limits() if takes_the_place_of(kept, one)), None)

    kept, general = with_usage(settings, put)
    subject = f"The user {user}" if user else f"The project {project}" if project else "Each user"
    typer.echo(f"{subject} may use {plain_amount(kept.amount)} {kept.unit} a {kept.period}. Limit {kept.id}.")
    if general is not None:
        typer.echo(f"It takes the place of the {plain_amount(general.amount)} that each user may use.")


@limits_app.command("remove")
def remove_limit(
    limit_id: Annotated[str, typer.Argument(help="As `limits list` shows it.", show_default=False)],
) -> None:
    """Remove a limit."""
    with_usage(settings_or_end(), lambda store: store.remove_limit(limit_id))
    typer.echo("The limit is removed.")


async def _user_id(store: UsageStore, identifier: str) -> str:
    account = await store.get_account(identifier)
    if account is None:
        raise NotFound(f"there is no user {identifier!r}")
    return account.user.id


async def _project_id(store: UsageStore, slug: str) -> str:
    if slug == DEFAULT_PROJECT:
        # Else it would be there with the first call only, which may be the one to be limited.
        return await store.default_project()
    for project in await store.list_projects():
        if project.slug == slug:
            return project.id
    raise NotFound(f"there is no project {slug!r}")
