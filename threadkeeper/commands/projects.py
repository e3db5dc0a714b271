"""`threadkeeper projects`: the projects to which model calls are assigned."""

from dataclasses import fields, replace
from typing import Annotated, Any

import typer

from datalayer.records.usage import DeletedProject, Project, Provider
from threadkeeper.commands.database import UsageStore, new_id, with_usage
from threadkeeper.commands.terminal import end, settings_or_end, show_table
from threadkeeper.language.numbers import counted
from threadkeeper.settings.own_variables import is_own_variable

projects_app = typer.Typer(no_args_is_help=True, help="Add, change, list and delete projects.")

_PROVIDER_KEYS = tuple(field.name for field in fields(Provider))


@projects_app.command("list")
def list_projects() -> None:
    """List all projects. The chat's own calls belong to the project `default`."""

    async def all_projects(store: UsageStore) -> list[Project]:
        await store.default_project()
        return await store.list_projects()

    found = with_usage(settings_or_end(), all_projects)
    rows = [
        (
            project.slug,
            project.name,
            project.owner or "",
            project.organisation or "",
            ", ".join(project.tags),
            ", ".join(provider.slug for provider in project.providers),
            project.id,
        )
        for project in found
    ]
    show_table(("Slug", "Name", "Owner", "Organisation", "Tags", "Providers", "ID"), rows)


@projects_app.command("set")
def set_project(
    slug: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.", show_default=False)],
    *,
    name: Annotated[str | None, typer.Option(help="Display name.", show_default=False)] = None,
    description: Annotated[str | None, typer.Option(help="Description.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option(help="Login name of the owner.", show_default=False)] = None,
    organisation: Annotated[str | None, typer.Option(help="Organisation.", show_default=False)] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag. Can be repeated.", show_default=False)] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="A provider, as in slug=azure,secret=AZURE_KEY (keys: see above). Can be repeated.",
            show_default=False,
            metavar="KEY=VALUE,…",
        ),
    ] = None,
) -> None:
    """Add a project, or change the given fields of an existing project.

    A provider has the keys slug, name, base_url, deployment, description,
    secret and passes_key. The secret is the name of the environment variable
    with the API key. With passes_key=true, the gateway passes on the key that
    its caller sends.
    The given providers replace all providers of the project.
    """
    settings = settings_or_end()
    given = {"name": name, "description": description, "owner": owner, "organisation": organisation}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if tag:
        changes["tags"] = tuple(tag)
    if provider:
        changes["providers"] = tuple(_provider(text) for text in provider)

    async def put(store: UsageStore) -> Project:
        there = {project.slug: project for project in await store.list_projects()}
        project = there.get(slug) or Project(new_id(), slug, slug)
        return await store.put_project(replace(project, **changes))  # type: ignore[arg-type]

    kept = with_usage(settings, put)
    typer.echo(f"Stored the project {kept.slug}. Project {kept.id}.")


@projects_app.command("delete")
def delete_project(
    slug: Annotated[str, typer.Argument(help="Of the project.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a project with its providers and limits, and revoke its keys.

    Its calls stay in the books, without a project.
    """
    settings = settings_or_end()
    if not yes and not typer.confirm(f"Delete the project {slug}, and revoke its keys?"):
        end("Nothing was deleted.", 1)

    async def delete(store: UsageStore) -> DeletedProject:
        return await store.delete_project(slug)

    deleted = with_usage(settings, delete)
    gone = f"{counted(len(deleted.providers), 'provider')}, {counted(len(deleted.limits), 'limit')}"
    revoked = counted(len(deleted.keys), "key was", "keys were")
    typer.echo(f"Deleted the project {deleted.slug} with {gone}. {revoked} revoked.")


def _provider(text: str) -> Provider:
    pairs = dict(part.partition("=")[::2] for part in text.split(","))
    if unknown := set(pairs) - set(_PROVIDER_KEYS):
        end(f"--provider: unknown key {sorted(unknown)[0]!r}. The keys are {', '.join(_PROVIDER_KEYS)}.", 1)
    if not pairs.get("slug"):
        end("--provider: slug is missing. Example: --provider slug=azure,base_url=https://…", 1)
    if pairs.get("passes_key", "") not in ("", "true", "false"):
        end("--provider: passes_key must be true or false.", 1)
    if is_own_variable(secret := pairs.get("secret", "")):
        end(f"--provider: {secret} belongs to this server. Give the key of the provider a variable of its own.", 1)
    values: dict[str, Any] = {key: value for key, value in pairs.items() if value}
    values["passes_key"] = values.get("passes_key") == "true"
    return Provider(**{"name": pairs["slug"], **values})
