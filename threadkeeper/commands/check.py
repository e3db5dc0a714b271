"""`threadkeeper check`: checks the database, the file store, the cookie secret, the model server and the traces.

A check creates nothing: for a file or folder that does not exist yet, it only tests whether it can be created.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from datalayer import ConfigurationError, DataLayerError, StorageUnavailable
from datalayer.adoption.adopt import is_to_be_adopted
from datalayer.billing.billing import Billing
from datalayer.database import Database
from datalayer.history.user_names import words_about
from datalayer.knowledge.passage_search import PassageSearch
from datalayer.read_replica import ReadReplica
from datalayer.store import DataStore
from threadkeeper.chat.providers.listing import ListFailed, models_of
from threadkeeper.commands.database import UsageStore
from threadkeeper.factories import chat_server, open_blobs
from threadkeeper.settings.cookie_secret import FILE_NAME, cookie_secret
from threadkeeper.settings.own_variables import is_own_variable
from threadkeeper.settings.settings import Settings, SettingsError
from threadkeeper.settings.urls import sqlite_file
from threadkeeper.tracing.environment import problem as telemetry_problem

PATIENCE_SECONDS = 5.0
COUNT_SECONDS = 2.5
"""How long the texts that the search index lacks are counted."""


@dataclass(frozen=True, slots=True)
class PartReport:
    """The result for one part. `ok` is None if the check cannot decide."""

    part: str
    finding: str
    ok: bool | None


async def check_parts(settings: Settings, wrong: Collection[str] = ()) -> list[PartReport]:
    """Check all parts concurrently, except those that depend on an invalid setting.

    Args:
        wrong: the variables of the invalid settings.
    """
    return await asyncio.gather(*(_report(part, settings, wrong) for part in _PARTS))


class _Wrong(Exception):
    """The part does not work; the message says why."""


class _Doubtful(Exception):
    """It is unknown whether the part works; the message says why."""


async def _database(settings: Settings) -> str:
    url = settings.resolved_database_url
    if (file := sqlite_file(url)) and (later := _made_later(file)):
        return later
    accounts = UsageStore(Database(url), None)
    try:
        if await accounts.database.is_read_only():
            raise _Wrong("reachable, but read-only, as a standby is: nothing can be stored")
        pending = await accounts.pending_migrations()
        if await is_to_be_adopted(accounts.database):
            raise _Doubtful("reachable; created by one of Chainlit's own data layers: run `threadkeeper adopt`")
        if pending:
            return f"reachable; the next start (or `threadkeeper migrate`) applies: {', '.join(pending)}"
        search = f"{await _search_index(accounts)}; {await _vectors(accounts.database)}"
        if settings.database_read_url:
            search += f"; {await _read_replica(accounts.database, settings.database_read_url)}"
        if removals := await accounts.pending_removals():
            search += f"; `threadkeeper migrate --after` applies, when no replica is older: {', '.join(removals)}"
        if await accounts.count_accounts() and not await accounts.admins():
            raise _Doubtful(f"reachable; nobody is an admin: run `threadkeeper user role NAME admin`; {search}")
        if alike := await accounts.names_alike():
            raise _Doubtful(f"reachable, but {'; '.join(map(words_about, alike))}; {search}")
        if refused := await _refused_secrets(accounts):
            raise _Doubtful(
                f"reachable, but the gateway refuses to send variables of this server: {refused}. Give the key of each "
                f"provider a variable of its own, and name it with `threadkeeper projects set`; {search}"
            )
    finally:
        await accounts.close()
    return f"reachable; the schema is up to date; {search}"


async def _refused_secrets(billing: Billing) -> str:
    """The providers whose key is a variable of this server, each with its project."""
    return ", ".join(
        f"{provider.secret} of {project.slug}/{provider.slug}"
        for project in await billing.list_projects()
        for provider in project.providers
        if provider.secret is not None and is_own_variable(provider.secret)
    )


async def _read_replica(database: Database, url: str) -> str:
    standby = None
    try:
        standby = Database(url)
        replica = ReadReplica(database, standby)
        await replica.demand_settings()
    except ConfigurationError as error:
        if standby is not None:
            await standby.close()
        raise _Wrong(f"reachable, but DATABASE_READ_URL cannot be used: {error}") from None
    try:
        is_standby, behind = await replica.look()
    except StorageUnavailable as error:
        raise _Doubtful(f"reachable, but its read replica is not, so the primary serves all reads: {error}") from None
    except DataLayerError as error:
        raise _Doubtful(f"reachable, but its read replica cannot be used: {error}") from None
    finally:
        await replica.close()
    if not is_standby:
        raise _Doubtful("reachable, but DATABASE_READ_URL does not name a standby")
    return f"read replica: {behind:,} bytes behind"


async def _vectors(database: Database) -> str:
    search = await PassageSearch(database, None).look_for_vectors()
    if search.name == "pgvector":
        return "passages of assistants: searched by pgvector"
    return f"passages of assistants: searched by NumPy in each process, because {search.reason}"


async def _search_index(store: DataStore) -> str:
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            left = await store.texts_to_index()
    except TimeoutError:
        return f"search index: the texts that are left could not be counted within {COUNT_SECONDS:g} seconds"
    if not left:
        return "search index: complete"
    texts = "1 text is left; it is" if left == 1 else f"{left:,} texts are left; they are"
    return f"search index: {texts} indexed while the server runs"


async def _files(settings: Settings) -> str:
    url = urlsplit(settings.resolved_blob_url)
    if url.scheme == "file" and (later := _made_later(Path(unquote(url.path)))):
        return later
    store = open_blobs(settings)
    try:
        await store.ping()
    finally:
        await store.close()
    return "writable"


async def _cookie_secret(settings: Settings) -> str:
    if settings.chainlit_auth_secret:
        return "set by CHAINLIT_AUTH_SECRET"
    path = settings.data_dir / FILE_NAME
    if later := _made_later(path):
        return later
    cookie_secret(settings)
    return f"stored in {path}"


async def _model_server(settings: Settings) -> str:
    if settings.demo:
        return "none configured; the built-in demo model answers"
    try:
        listed = await models_of(chat_server(settings), PATIENCE_SECONDS)
    except ListFailed as failed:
        raise _unlisted(failed) from None
    unknown = [name for name in dict.fromkeys((*settings.openai_models, settings.title_model)) if name not in listed]
    if unknown and not settings.azure_openai_endpoint:
        # Not an error: some servers accept a second name for a model.
        raise _Doubtful(f"reachable, but its list of models does not contain {', '.join(unknown)}")
    return "reachable"


def _unlisted(failed: ListFailed) -> Exception:
    if failed.kind == "no_list":
        return _Doubtful("reachable, but this URL has no list of models")
    if failed.kind == "refused":
        hint = "; check the API key" if failed.status in (401, 403) else ""
        return _Wrong(f"the request for the list of models failed with status {failed.status}{hint}")
    if failed.kind == "not_a_list":
        return _Wrong("reachable, but not a model server; check the URL, including /v1")
    return _Wrong(f"not reachable ({failed.words})")


async def _traces(settings: Settings) -> str:
    if not settings.telemetry:
        return "off"
    if why := telemetry_problem():
        raise _Wrong(why)
    return "sent, with texts" if settings.telemetry_texts else "sent"


# Each part with the variables it depends on.
_PARTS: dict[str, tuple[tuple[str, ...], Callable[[Settings], Awaitable[str]]]] = {
    "database": (("DATABASE_URL", "DATABASE_READ_URL", "DATA_DIR"), _database),
    "files": (("BLOB_URL", "DATA_DIR", "AZURE_STORAGE_ENDPOINT", "S3_ENDPOINT_URL"), _files),
    "cookie secret": (("CHAINLIT_AUTH_SECRET", "DATA_DIR"), _cookie_secret),
    "model server": (
        (
            *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODELS", "OPENAI_TITLE_MODEL"),
            *("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_API_VERSION"),
        ),
        _model_server,
    ),
    "traces": (("TELEMETRY", "TELEMETRY_TEXTS"), _traces),
}


async def _report(part: str, settings: Settings, wrong: Collection[str]) -> PartReport:
    variables, check = _PARTS[part]
    if invalid := [variable for variable in variables if variable in wrong]:
        return PartReport(part, f"not checked, because {invalid[0]} is invalid", ok=None)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return PartReport(part, await check(settings), ok=True)
    except TimeoutError:
        return PartReport(part, f"no answer within {PATIENCE_SECONDS:g} seconds", ok=False)
    except _Doubtful as doubt:
        return PartReport(part, str(doubt), ok=None)
    except (_Wrong, DataLayerError, SettingsError) as error:
        return PartReport(part, str(error), ok=False)
    except Exception as error:  # noqa: BLE001  a finding like any other: the other parts are still reported
        return PartReport(part, f"the check failed ({type(error).__name__}); please report this defect", ok=False)


def _made_later(path: Path) -> str | None:
    """The finding for a path that does not exist yet; None if it exists.

    Raises:
        _Wrong: the path cannot be created either.
    """
    if path.exists():
        return None
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise _Wrong(f"{path} does not exist, and {folder} is not writable")
    return f"{path} does not exist yet; the first start creates it"
