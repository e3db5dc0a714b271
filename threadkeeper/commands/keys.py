"""`threadkeeper keys`: make, list and revoke API keys, by which programs act as users."""

from typing import Annotated

import typer

from datalayer.accounts.accounts import Accounts
from datalayer.errors import NotFound
from datalayer.keys.keys import Keys
from datalayer.records.keys import KEY_SCOPES, ApiKey
from threadkeeper.commands.database import time_of
from threadkeeper.commands.terminal import settings_or_end, show_table, with_layer

keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys for programs.")


class KeyStore(Accounts, Keys):
    """Accounts and keys of one database."""


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    *,
    user: Annotated[str, typer.Option(help="The user as whom the program acts.", show_default=False)],
    scope: Annotated[
        list[str], typer.Option(help=f"What the key allows: {', '.join(KEY_SCOPES)}. Repeatable.", show_default=False)
    ],
    project: Annotated[
        str | None, typer.Option(help="The slug of the project that pays; else the default one.", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; else all. Repeatable.", show_default=False)
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="The most requests.", show_default=False)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="The most tokens.", show_default=False)] = None,
    expires: Annotated[
        str | None, typer.Option(help="The time from which the key is not valid.", show_default=False)
    ] = None,
) -> None:
    """Make a key. It is printed once and cannot be shown again.

    To limit what it may spend: threadkeeper limits set … --key PREFIX
    """
    settings = settings_or_end()
    ends = None if expires is None else time_of(expires, "--expires", settings.usage_time_zone)

    async def create(store: KeyStore) -> tuple[ApiKey, str]:
        return await store.create_api_key(
            name,
            scope,
            user=user,
            project=project,
            models=model or (),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            expires_at=ends,
        )

    key, secret = with_layer(KeyStore, settings, create)
    typer.echo(f"Made the key {key.prefix}… of {key.owner}. Store it now: it cannot be shown again.", err=True)
    typer.echo(secret)


@keys_app.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Only keys of this user.", show_default=False)] = None,
) -> None:
    """List all keys, newest first, with revoked and expired ones."""
    keys = with_layer(KeyStore, settings_or_end(), lambda store: store.list_api_keys(user))
    rows = [
        (
            key.id,
            f"{key.prefix}…",
            key.owner,
            key.name,
            " ".join(key.scopes),
            key.project or "",
            " ".join(key.models),
            "" if key.requests_per_minute is None else str(key.requests_per_minute),
            "" if key.tokens_per_minute is None else str(key.tokens_per_minute),
            *(_short(moment) for moment in (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)),
        )
        for key in keys
    ]
    header = ("ID", "Key", "User", "Name", "Scopes", "Project", "Models", "Requests/min", "Tokens/min")
    show_table((*header, "Created", "Last used", "Expires", "Revoked"), rows, empty="There are no keys.")


@keys_app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The id or the first characters of the key.", show_default=False)],
) -> None:
    """Revoke a key for ever. Programs that use it are refused within seconds."""

    async def revoke(store: KeyStore) -> ApiKey:
        return await store.revoke_api_key((await key_named(store, key)).id)

    revoked = with_layer(KeyStore, settings_or_end(), revoke)
    typer.echo(f"Revoked the key {revoked.prefix}… of {revoked.owner}.")


async def key_named(store: Keys, name: str) -> ApiKey:
    """The key with this id or this prefix.

    Raises:
        NotFound: there is none.
    """
    begin = name.removesuffix("…")
    for key in await store.list_api_keys():
        if begin in (key.id, key.prefix):
            return key
    # A whole key is not repeated.
    raise NotFound(f"there is no key {begin[:10]!r}: list the keys to see their ids")


def _short(moment: str | None) -> str:
    return "" if moment is None else moment[:19] + "Z"
