"""`threadkeeper limits`: limits on usage per day or month."""

from typing import Annotated, Literal

import typer

from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.billing.limits import takes_the_place_of
from datalayer.cleaning import utc_now
from datalayer.errors import NotFound
from datalayer.records.usage import Limit, plain_amount
from threadkeeper.commands.database import UsageStore, amount_of, new_id, with_usage
from threadkeeper.commands.keys import key_named
from threadkeeper.commands.terminal import end, settings_or_end, show_table

limits_app = typer.Typer(
    no_args_is_help=True, help="Limit the usage of users, projects and API keys, in tokens or dollars."
)


@limits_app.command("list")
def list_limits() -> None:
    """List all limits. Limits of one user, project or key show how much is used in the current period."""
    settings = settings_or_end()

    async def rows(store: UsageStore) -> list[tuple[str, ...]]:
        names = {user.id: f"user {user.identifier}" for user in await store.list_users()}
        names |= {project.id: f"project {project.slug}" for project in await store.list_projects()}
        found: list[tuple[str, ...]] = []
        names |= {key.id: f"key {key.prefix}…" for key in await store.list_api_keys()}
        for limit in await store.list_limits():
            used = ""
            if limit.subject_id is not None:
                subject = (limit.subject_id if limit.scope == scope else None for scope in ("user", "project", "key"))
                standings = await store.limit_standings(*subject, zone=settings.usage_time_zone)
                used = next((plain_amount(one.used) for one in standings if one.limit.id == limit.id), "")
            whose = "each user" if limit.subject_id is None else names.get(limit.subject_id, "deleted")
            found.append((limit.id, whose, plain_amount(limit.amount), limit.unit, limit.period, used))
        return found

    show_table(("ID", "Applies to", "Limit", "Unit", "Period", "Used"), with_usage(settings, rows), empty="No limits.")


@limits_app.command("set")
def set_limit(
    amount: Annotated[str, typer.Argument(help="Maximum usage.", show_default=False)],
    unit: Annotated[Literal["tokens", "dollars"], typer.Argument(help="The unit of the amount.", show_default=False)],
    period: Annotated[Literal["day", "month"], typer.Argument(help="The period of the limit.", show_default=False)],
    *,
    user: Annotated[
        str | None, typer.Option(help="Limit this user. Replaces the limit for all users.", show_default=False)
    ] = None,
    project: Annotated[str | None, typer.Option(help="Limit the project with this slug.", show_default=False)] = None,
    key: Annotated[
        str | None, typer.Option(help="Limit the API key with this id or prefix.", show_default=False)
    ] = None,
) -> None:
    """Set a limit for one user, project or API key, or (without an option) for each user.

    A limit of one user replaces the limit for each user with the same unit and
    period, whether it is higher or lower. All other limits apply together:
    tokens and dollars, day and month, user, project and key.
    """
    settings = settings_or_end()
    if sum(one is not None for one in (user, project, key)) > 1:
        end("A limit applies to one user, one project or one key. Use --user, --project or --key.", 1)
    most = amount_of(amount, "The amount")

    async def put(store: UsageStore) -> tuple[Limit, Limit | None]:
        scope: Literal["user", "users", "project", "key"] = "users"
        subject = None
        if user:
            scope, subject = "user", await _user_id(store, user)
        elif project:
            scope, subject = "project", await _project_id(store, project)
        elif key:
            scope, subject = "key", (await key_named(store, key)).id
        kept = await store.put_limit(Limit(new_id(), scope, subject, period, unit, most, utc_now()))
        return kept, next((one for one in await store.list_limits() if takes_the_place_of(kept, one)), None)

    kept, general = with_usage(settings, put)
    named = (("user", user), ("project", project), ("key", key))
    subject = next((f"The {what} {name}" for what, name in named if name), "Each user")
    typer.echo(f"{subject} can use {plain_amount(kept.amount)} {kept.unit} per {kept.period}. Limit {kept.id}.")
    if general is not None:
        typer.echo(f"For this user, it replaces the limit of {plain_amount(general.amount)} for each user.")


@limits_app.command("remove")
def remove_limit(
    limit_id: Annotated[str, typer.Argument(help="The ID, as shown by `limits list`.", show_default=False)],
) -> None:
    """Remove a limit."""
    with_usage(settings_or_end(), lambda store: store.remove_limit(limit_id))
    typer.echo("Removed the limit.")


async def _user_id(store: UsageStore, identifier: str) -> str:
    account = await store.get_account(identifier)
    if account is None:
        raise NotFound(f"there is no user {identifier!r}")
    return account.user.id


async def _project_id(store: UsageStore, slug: str) -> str:
    if slug == DEFAULT_PROJECT:
        # The first call creates this project, but a limit must also apply to the first call.
        return await store.default_project()
    if (found := await store.project_id(slug)) is None:
        raise NotFound(f"there is no project {slug!r}")
    return found
