"""What is one's own: the password, who looked at it, the logins, the export of everything, and its deletion."""

import hmac
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from datalayer import SYSTEM, BlobNotFound, InvalidRecord, Job, Receipt, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.audit import LookPage
from threadkeeper.jobs.takeouts import TAKEOUT
from threadkeeper.login.passwords import LONGEST_PASSWORD
from threadkeeper.web.api.access import AccountCaller, Caller
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit, page_of, tried_again
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import ChatSettings, Strict, settings_of, with_same_settings, with_settings
from threadkeeper.web.api.users import Password, hashed
from threadkeeper.web.pages.dependencies import Accounts, Layer
from threadkeeper.web.pages.downloads import stored_zip

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


class Me(BaseModel):
    """The user of the key."""

    id: str
    identifier: str
    role: str


class NewPassword(Strict):
    old: Annotated[str, Field(max_length=LONGEST_PASSWORD, description="The one that it replaces.")]
    password: Password


class ShownTakeout(BaseModel):
    """An export of everything, as a ZIP. It is deleted a day after it is done."""

    id: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    created_at: str
    ended_at: str | None
    threads: int = Field(description="How many are in it so far.")
    name: str | None = Field(description="Of the file, when it is done.")
    bytes: int | None
    missing: int | None = Field(description="Files that the store does not have; the ZIP lists them.")
    damaged: int | None = Field(description="Files that are not what was stored; the ZIP lists them.")
    error: str | None


class TakeoutPage(BaseModel):
    data: list[ShownTakeout]
    next_cursor: str | None


class ShownLogin(BaseModel):
    id: str
    started_at: str
    seen_at: str | None
    expires_at: str
    agent: str | None = Field(description="The `User-Agent` of the browser.")


class LoginPage(BaseModel):
    data: list[ShownLogin]
    next_cursor: str | None


class ShownLook(BaseModel):
    """What somebody did with threads of the user. An export of several is one look."""

    at: str
    action: str
    actor: str | None = Field(description="Null for the server itself.")
    purpose: str | None
    threads: int
    thread_ids: list[str | None] = Field(description="The first ten.")


class ShownLooks(BaseModel):
    data: list[ShownLook]
    next_cursor: str | None


@router.get("/me")
async def read_me(caller: AccountCaller) -> Me:
    """Whose key it is."""
    return Me(id=caller.user_id, identifier=caller.identifier, role=caller.role)


@router.put("/me/password", status_code=204)
async def change_password(caller: AccountCaller, layer: Layer, accounts: Accounts, given: NewPassword) -> None:
    """Change the password of the user, and end all logins in browsers. Keys stay valid.

    As many wrong old passwords slow down the next try as at the login.
    """
    if not await accounts.confirm(caller.identifier, given.old):
        raise invalid("body.old", "it is not the password of your user")
    password_hash = await hashed(accounts.passwords, given.password)
    with acting_as(SYSTEM):
        await layer.set_password(caller.identifier, password_hash)


@router.get("/me/chat-settings")
async def read_chat_settings(caller: AccountCaller, layer: Layer) -> ChatSettings:
    """The settings of the user for new threads without an assistant."""
    return settings_of((await _user(layer, caller)).metadata)


@router.patch("/me/chat-settings")
async def change_chat_settings(caller: AccountCaller, layer: Layer, given: ChatSettings) -> ChatSettings:
    """Change the settings of the user for new threads. Null removes one, and those that are left out stay."""

    async def change() -> ChatSettings:
        before = (await _user(layer, caller)).metadata
        changed = with_settings(before, given)
        await layer.change_account(caller.identifier, metadata=changed, only_if=with_same_settings(before))
        return settings_of(changed)

    return await tried_again(change)


@router.delete("/me")
async def delete_me(
    caller: AccountCaller,
    layer: Layer,
    confirm: Annotated[str, Query(max_length=1_000, description="The identifier of the user, in full.")],
) -> Receipt:
    """Delete the user with all threads, votes, files and keys, for ever; gives the receipt."""
    if not hmac.compare_digest(confirm.strip().encode(), caller.identifier.encode()):
        raise invalid("query.confirm", "it is not the identifier of your user, so nothing was deleted")
    try:
        return await layer.delete_user(caller.identifier)
    except InvalidRecord:
        # Everything else is checked before.
        sentence = f"{caller.identifier} is the only admin. Make another user an admin first."
        raise Problem(409, "only-admin", sentence) from None


@router.get("/me/looks")
async def list_looks(
    _caller: AccountCaller,
    layer: Layer,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> ShownLooks:
    """Who opened, exported or copied threads of the user, newest first."""
    found: LookPage = await layer.who_looked_by_export(cursor=cursor, limit=limit)
    return ShownLooks(
        data=[
            ShownLook(
                at=one.entry.at,
                action=one.entry.action,
                actor=one.entry.actor,
                purpose=one.entry.purpose,
                threads=one.count,
                thread_ids=list(one.thread_ids),
            )
            for one in found.looks
        ],
        next_cursor=found.next_cursor,
    )


@router.get("/me/logins")
async def list_logins(_caller: AccountCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> LoginPage:
    """The logins in browsers, the last one that was seen first."""
    page, following = page_of(await layer.list_logins(), lambda one: str(one.id), cursor, limit)
    same = ("id", "started_at", "seen_at", "expires_at", "agent")
    shown = [ShownLogin(**{name: getattr(one, name) for name in same}) for one in page]
    return LoginPage(data=shown, next_cursor=following)


@router.delete("/me/logins/{login_id}", status_code=204)
async def end_login(_caller: AccountCaller, layer: Layer, login_id: str) -> None:
    """End a login; its browser is logged out within seconds."""
    if all(one.id != login_id for one in await layer.list_logins()):
        raise not_found("login")
    await layer.end_login(login_id)


@router.delete("/me/logins", status_code=204)
async def end_logins(_caller: AccountCaller, layer: Layer) -> None:
    """End all logins in browsers. Keys stay valid."""
    await layer.end_logins()


@router.get("/me/takeouts")
async def list_takeouts(_caller: AccountCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> TakeoutPage:
    """The exports of everything, newest first."""
    found = await layer.list_jobs(kinds=[TAKEOUT], cursor=cursor, limit=limit)
    return TakeoutPage(data=[_shown(job) for job in found.jobs], next_cursor=found.next_cursor)


@router.post("/me/takeouts", status_code=202, dependencies=[once_with("account", from_pages=False)])
async def start_takeout(request: Request, caller: AccountCaller, layer: Layer, response: Response) -> ShownTakeout:
    """Export everything in the background. While one is being prepared, it is given again."""
    job = await layer.start_job(TAKEOUT, key=caller.user_id)
    note_done(request)
    response.headers["Location"] = location_of(f"/me/takeouts/{job.id}")
    return _shown(job)


@router.get("/me/takeouts/{takeout_id}")
async def read_takeout(_caller: AccountCaller, layer: Layer, takeout_id: str) -> ShownTakeout:
    """How far an export is."""
    return _shown(await _takeout(layer, takeout_id))


@router.post("/me/takeouts/{takeout_id}/cancel", status_code=202, dependencies=[once_with("account", from_pages=False)])
async def cancel_takeout(_caller: AccountCaller, layer: Layer, takeout_id: str) -> ShownTakeout:
    """Cancel an export that is being prepared."""
    return _shown(await layer.cancel_job((await _takeout(layer, takeout_id)).id))


@router.get("/me/takeouts/{takeout_id}/content", response_class=Response, responses=_ZIP)
async def download_takeout(_caller: AccountCaller, layer: Layer, takeout_id: str) -> Response:
    """The ZIP of an export that is done."""
    job = await _takeout(layer, takeout_id)
    if job.state != "done" or job.object_key is None:
        raise Problem(404, "not-found", "The export is not done, or its file is deleted.")
    try:
        blob = await layer.blobs.open(job.object_key)
    except BlobNotFound:
        raise Problem(404, "not-found", "The file of the export is deleted. Start another one.") from None
    return stored_zip(blob, job.result["name"], otherwise="takeout.zip")


async def _user(layer: ChainlitLayer, caller: Caller) -> User:
    account = await layer.get_account(caller.identifier)
    if account is None:
        raise not_found("user")
    return account.user


async def _takeout(layer: ChainlitLayer, job_id: str) -> Job:
    """A takeout of the acting user."""
    job = await layer.get_job(job_id)
    if job is None or job.kind != TAKEOUT:
        raise not_found("takeout")
    return job


def _shown(job: Job) -> ShownTakeout:
    result = job.result or {}
    return ShownTakeout(
        id=job.id,
        state=job.state,
        created_at=job.created_at,
        ended_at=job.ended_at,
        threads=result.get("threads", job.done),
        name=result.get("name"),
        bytes=result.get("bytes"),
        missing=result.get("missing"),
        damaged=result.get("damaged"),
        error=job.error,
    )
