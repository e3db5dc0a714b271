"""`threadkeeper assistants`: list assistants, write one as a YAML file, and read one."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datalayer.accounts.accounts import Accounts
from datalayer.assistants.assistants import Assistants
from datalayer.assistants.checking import Problems, check_settings
from datalayer.errors import InvalidAssistant, NotFound
from datalayer.knowledge.knowledge import Knowledge
from datalayer.records.assistants import Assistant, AssistantPicture
from threadkeeper.commands.assistant_files import AssistantFile, InvalidFile, as_yaml, read_yaml
from threadkeeper.commands.terminal import create_if_new, end, settings_or_end, show_table, with_layer

assistants_app = typer.Typer(no_args_is_help=True, help="List assistants, and export or import one as a YAML file.")


class AssistantStore(Accounts, Assistants, Knowledge):
    """Assistants, their users, and what they know."""


@assistants_app.command("list")
def list_assistants() -> None:
    """List all assistants."""

    async def all_assistants(store: AssistantStore) -> list[Assistant]:
        await create_if_new(store)
        return await store.list_assistants()

    found = with_layer(AssistantStore, settings_or_end(), all_assistants, new=True)
    rows = [
        (
            one.slug,
            one.settings.name,
            one.settings.type,
            str(one.version),
            one.access.role or one.access.kind,
            one.owner or "",
            one.saved_at or "",
        )
        for one in found
    ]
    header = ("Slug", "Name", "Type", "Version", "For", "Owner", "Saved")
    show_table(header, rows, empty="No assistants.")


@assistants_app.command("export")
def export_assistant(
    slug: Annotated[str, typer.Argument(help="The slug, as in `assistants list`.", show_default=False)],
    *,
    to: Annotated[
        Path | None, typer.Option(help="The file to write. By default, standard output.", show_default=False)
    ] = None,
    version: Annotated[int | None, typer.Option(help="A version. By default, the newest.", show_default=False)] = None,
) -> None:
    """Write an assistant as a YAML file, with its access, owner and picture, and without its data sources."""

    async def read(store: AssistantStore) -> tuple[Assistant, AssistantPicture | None, int]:
        assistant = await store.get_assistant(slug, version)
        picture = await store.assistant_picture(slug, assistant.picture) if assistant.picture else None
        return assistant, picture, len(await store.list_sources(slug))

    assistant, picture, sources = with_layer(AssistantStore, settings_or_end(), read)
    text = as_yaml(assistant, picture)
    if sources:
        typer.echo(
            f"Its data sources ({sources}) are not in the file. `threadkeeper knowledge add` adds them again.", err=True
        )
    if to is None:
        typer.echo(text, nl=False)
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        end(f"Cannot write the assistant to {to}: {error.strerror}.", 1)
    typer.echo(f"Wrote the assistant {slug} to {to}.")


@assistants_app.command("import")
def import_assistant(
    file: Annotated[Path, typer.Argument(help="The file; - reads standard input.", show_default=False)],
    *,
    owner: Annotated[
        str | None, typer.Option(help="Login name of the owner, in place of the one in the file.", show_default=False)
    ] = None,
) -> None:
    """Read an assistant from a YAML file: a new one, or the next version of the one with its slug.

    If nothing differs from the newest version, nothing is stored.
    """
    try:
        read = read_yaml(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except InvalidFile as error:
        end(f"{file} cannot be imported: {error}.", 1)
    except UnicodeDecodeError:
        end(f"{file} cannot be imported: it is not UTF-8 text.", 1)
    except OSError as error:
        end(f"Cannot read {file}: {error.strerror}.", 1)

    async def store_it(store: AssistantStore) -> tuple[Assistant, bool]:
        await create_if_new(store)
        try:
            return await _store(store, read, owner)
        except InvalidAssistant as error:
            end("\n".join(f"{file}: {sentence}." for sentence in error.sentences), 1)

    stored, is_changed = with_layer(AssistantStore, settings_or_end(), store_it, new=True)
    if is_changed:
        typer.echo(f"Stored version {stored.version} of the assistant {stored.slug}.")
    else:
        typer.echo(f"The assistant {stored.slug} is the same already: version {stored.version}.")


async def _store(store: AssistantStore, file: AssistantFile, owner: str | None) -> tuple[Assistant, bool]:
    owner = file.owner if owner is None else owner
    try:
        current = None if file.slug is None else await store.get_assistant(file.slug)
    except NotFound:
        current = None
    if current is None:
        made = await store.create_assistant(
            file.settings, slug=file.slug, access=file.access, owner=owner, picture=file.picture
        )
        return made, True
    if _is_same(current, file, owner):
        return current, False
    saved = await store.save_assistant(
        current.slug,
        file.settings,
        expected_version=current.version,
        access=file.access,
        owner=owner,
        picture=file.picture or b"",
    )
    return saved, True


def _is_same(current: Assistant, file: AssistantFile, owner: str | None) -> bool:
    """Whether storing the file would change nothing. What the file does not say stays, except the picture."""
    problems = Problems()
    settings = check_settings(file.settings, problems)
    problems.demand_none()
    picture = hashlib.sha256(file.picture).hexdigest() if file.picture else None
    access = file.access or current.access
    return (
        settings == current.settings
        and picture == current.picture
        and owner in (None, current.owner)
        and replace(access, users=()) == replace(current.access, users=())
        and set(access.users) == set(current.access.users)
    )
