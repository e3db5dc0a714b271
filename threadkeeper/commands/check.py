"""What `threadkeeper check` finds out about the parts: the database, the files, the cookie secret, the model server.

Nothing is made by looking: a place that is not there yet is only asked whether it could be made.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from datalayer import DataLayerError
from datalayer.accounts.accounts import Accounts
from datalayer.adoption.adopt import is_to_be_adopted
from datalayer.database import Database
from threadkeeper.factories import open_blobs
from threadkeeper.settings.cookie_secret import FILE_NAME, cookie_secret
from threadkeeper.settings.settings import Settings, SettingsError
from threadkeeper.settings.urls import sqlite_file

PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PartReport:
    """One part in a sentence, and whether it is as it should be; None where that cannot be told."""

    part: str
    finding: str
    ok: bool | None


async def check_parts(settings: Settings, wrong: Collection[str] = ()) -> list[PartReport]:
    """Every part, looked at side by side; not those that hang on a setting that is wrong."""
    return await asyncio.gather(*(_report(part, settings, wrong) for part in _PARTS))


class _Wrong(Exception):
    """The part cannot work; the message says why."""


class _Doubtful(Exception):
    """The part may work or not; the message says why."""


async def _database(settings: Settings) -> str:
    url = settings.resolved_database_url
    if (file := sqlite_file(url)) and (later := _made_later(file)):
        return later
    accounts = Accounts(Database(url), None)
    try:
        await accounts.ping()
        pending = await accounts.pending_migrations()
        if await is_to_be_adopted(accounts.database):
            raise _Doubtful("reachable; one of Chainlit's own layers made it: `threadkeeper adopt` says what is in it")
    finally:
        await accounts.close()
    if pending:
        return f"reachable; the next start (or `threadkeeper migrate`) applies: {', '.join(pending)}"
    return "reachable; its schema is up to date"


async def _files(settings: Settings) -> str:
    url = urlsplit(settings.resolved_blob_url)
    if url.scheme == "file" and (later := _made_later(Path(unquote(url.path)))):
        return later
    store = open_blobs(settings)
    try:
        await store.ping()
    finally:
        await store.close()
    return "can be written"


async def _cookie_secret(settings: Settings) -> str:
    if settings.chainlit_auth_secret:
        return "set by CHAINLIT_AUTH_SECRET"
    path = settings.data_dir / FILE_NAME
    if later := _made_later(path):
        return later
    cookie_secret(settings)
    return f"kept in {path}"


async def _model_server(settings: Settings) -> str:
    if settings.demo:
        return "none is set: the built-in demo model answers"
    # Half a second, which the other commands need not spend.
    import openai  # noqa: PLC0415

    from threadkeeper.chat.providers import OPENAI_BASE_URL  # noqa: PLC0415
    from threadkeeper.chat.providers.openai import azure_client, openai_client  # noqa: PLC0415

    if settings.azure_openai_endpoint:
        version = settings.azure_openai_api_version
        key = _plain(settings.azure_openai_api_key)
        client = azure_client(settings.azure_openai_endpoint, key, version, PATIENCE_SECONDS, 0)
    else:
        base_url = settings.openai_base_url or OPENAI_BASE_URL
        client = openai_client(base_url, _plain(settings.openai_api_key), PATIENCE_SECONDS, 0)
    async with client:
        try:
            answer = (await client.models.with_raw_response.list()).http_response.json()
            listed = {str(model["id"]) for model in answer["data"]}
        except openai.APIStatusError as error:
            if error.status_code == 404:
                raise _Doubtful("reachable, but there is no list of models at this address") from None
            hint = ": is the key right?" if error.status_code in (401, 403) else ""
            raise _Wrong(f"the list of models was answered with {error.status_code}{hint}") from None
        except openai.APIConnectionError as error:
            raise _Wrong(f"cannot be reached ({_root_of(error)})") from None
        except (openai.APIError, ValueError, KeyError, TypeError):
            raise _Wrong("answers, but not as a model server: is the address right, /v1 included?") from None
    unknown = [name for name in dict.fromkeys((*settings.openai_models, settings.title_model)) if name not in listed]
    if unknown and not settings.azure_openai_endpoint:
        # No proof: some servers know a model by a second name.
        raise _Doubtful(f"reachable, but its list of models lacks {', '.join(unknown)}")
    return "reachable"


# Each with the variables it hangs on.
_PARTS: dict[str, tuple[tuple[str, ...], Callable[[Settings], Awaitable[str]]]] = {
    "database": (("DATABASE_URL", "DATA_DIR"), _database),
    "files": (("BLOB_URL", "DATA_DIR", "AZURE_STORAGE_ENDPOINT", "S3_ENDPOINT_URL"), _files),
    "cookie secret": (("CHAINLIT_AUTH_SECRET", "DATA_DIR"), _cookie_secret),
    "model server": (
        (
            *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODELS", "OPENAI_TITLE_MODEL"),
            *("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_API_VERSION"),
        ),
        _model_server,
    ),
}


async def _report(part: str, settings: Settings, wrong: Collection[str]) -> PartReport:
    variables, check = _PARTS[part]
    if standing_in_the_way := [variable for variable in variables if variable in wrong]:
        return PartReport(part, f"not looked at, {standing_in_the_way[0]} is wrong", ok=None)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return PartReport(part, await check(settings), ok=True)
    except TimeoutError:
        return PartReport(part, f"no answer within {PATIENCE_SECONDS:g} seconds", ok=False)
    except _Doubtful as doubt:
        return PartReport(part, str(doubt), ok=None)
    except (_Wrong, DataLayerError, SettingsError) as error:
        return PartReport(part, str(error), ok=False)


def _root_of(error: BaseException) -> str:
    # The transport names every lost connection a time-out; only what lies beneath it tells.
    while beneath := error.__cause__ or error.__context__:
        error = beneath
    return f"{type(error).__name__}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _made_later(path: Path) -> str | None:
    """What to say of a path that is not there yet.

    Raises:
        _Wrong: nor can it be made.
    """
    if path.exists():
        return None
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise _Wrong(f"{path} is not there, and {folder} cannot be written")
    return f"{path} is not there yet; it is made at the first start"
