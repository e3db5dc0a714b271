"""The page at `/me`: who opened the user's threads, shared threads, data export, logins, API keys, and deletion.

Everything here belongs to the acting user; nobody sees another user's page, whatever their role. Owners of an
assistant also see the number of its votes, but no contents.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from datalayer import SYSTEM, Account, BlobNotFound, InvalidRecord, Job, LimitStanding, Login, acting_as
from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_time, known_id, name_key, utc_now
from datalayer.records.audit import Look, LookPage
from datalayer.records.review_statistics import Satisfaction
from threadkeeper.jobs.takeouts import KEPT_SECONDS, TAKEOUT
from threadkeeper.language.chosen import chosen_language
from threadkeeper.language.negotiation import LANGUAGES, about
from threadkeeper.web.auth.gate import Person, login_at
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.auth.tokens import clear_login_cookie
from threadkeeper.web.me.browsers import browser_name
from threadkeeper.web.me.keys import offered, own_keys
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.downloads import stored_zip
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.receipts import receipt_page
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.zone import Zone

ROWS_AT_FIRST = 10
ROWS_A_PAGE = 50
VOTES_DAYS = 30

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _owners(request: Request) -> Mapping[str, tuple[str, ...]]:
    owners: Mapping[str, tuple[str, ...]] = request.state.assistant_owners
    return owners


Owners = Annotated[Mapping[str, tuple[str, ...]], Depends(_owners)]
"""The identifiers of the owners of each assistant, by its name."""


@router.get("/me")
async def read_me(
    *, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone, owners: Owners
) -> Response:
    cursor = cursor_of(request.query_params)
    export = request.query_params.get("export")
    if export is not None and known_id(export) is None:
        raise HTTPException(404)
    looked = await _looked(layer, cursor, export)
    if export is not None and not looked.looks:
        raise HTTPException(404)
    names = await layer.names_of_threads({one for look in looked.looks for one in look.thread_ids if one})
    account = await _account(layer, person)
    me = name_key(person.identifier)
    owned = [name for name, people in owners.items() if me in map(name_key, people)]
    own = [one.slug for one in await layer.list_assistants() if one.owner == person.identifier]
    owned = list(dict.fromkeys([*owned, *own]))
    values = {
        "account": account.user,
        "limits": await _limits(layer, account, pages.time_zone),
        "has_password": account.password_hash is not None,
        "password_changed": "password" in request.query_params,
        "looked": looked,
        "cursor": cursor,
        "export": export,
        "names": names,
        "logins": _login_rows(await layer.list_logins(), request),
        "shared": await layer.shared_threads(),
        "keys": await own_keys(layer),
        "now": utc_now(),
        "scopes": offered(person),
        "languages": {one: about(one).name for one in LANGUAGES},
        "chosen_language": chosen_language(request.headers.get("cookie")),
        "takeout": await _newest_takeout(layer),
        "votes": await _votes(layer, owned) if owned else [],
        "votes_days": VOTES_DAYS,
        "rows_a_page": ROWS_A_PAGE,
    }
    return pages.page(request, "me/overview.html", values, person=person, zone=zone)


@router.post("/me/shared/{thread_id}/stop")
async def stop_sharing(person: LoggedIn, _form: Form, layer: Layer, thread_id: str) -> Response:
    known = known_id(thread_id)
    if known is None or await layer.get_thread_author(known) != person.identifier:
        raise HTTPException(404)
    await layer.update_thread(known, metadata={"is_shared": None, "shared_at": None})
    return redirect_to("/me#shared")


@router.post("/me/takeout")
async def prepare_takeout(person: LoggedIn, _form: Form, layer: Layer) -> Response:
    await layer.start_job(TAKEOUT, key=(await _account(layer, person)).user.id)
    return redirect_to("/me#takeout")


@router.post("/me/takeout/{job_id}/cancel")
async def cancel_takeout(_person: LoggedIn, _form: Form, layer: Layer, job_id: str) -> Response:
    await layer.cancel_job((await _takeout(layer, job_id)).id)
    return redirect_to("/me#takeout")


@router.get("/me/takeout/{job_id}")
async def download_takeout(_person: LoggedIn, layer: Layer, job_id: str) -> Response:
    job = await _takeout(layer, job_id)
    if job.state != "done" or job.object_key is None:
        raise HTTPException(404)
    try:
        blob = await layer.blobs.open(job.object_key)
    except BlobNotFound:
        raise InvalidInput("me_takeout_gone") from None
    return stored_zip(blob, job.result["name"], otherwise="takeout.zip")


@router.post("/me/logins/{login_id}/end")
async def end_login(_person: LoggedIn, _form: Form, layer: Layer, login_id: str) -> Response:
    await layer.end_login(login_id)
    return redirect_to("/me#logins")


@router.post("/me/log-out")
async def log_out_everywhere(request: Request, _person: LoggedIn, _form: Form, layer: Layer) -> Response:
    await layer.end_logins()
    response = redirect_to("/login")
    clear_login_cookie(request, response)
    return response


@router.post("/me/delete", dependencies=[page_of_form("/me")])
async def delete_me(request: Request, person: LoggedIn, form: Form, layer: Layer, pages: Pages) -> Response:
    if not hmac.compare_digest(form.one("confirm", longest=1_000).strip().encode(), person.identifier.encode()):
        raise InvalidField("confirm", "me_delete_wrong")
    try:
        receipt = await layer.delete_user(person.identifier)
    except InvalidRecord:
        # Everything else is checked before.
        raise InvalidField("confirm", "me_delete_only_admin") from None
    response = receipt_page(request, pages, "me/deleted.html", receipt, person=None)
    clear_login_cookie(request, response)
    return response


async def _looked(layer: ChainlitLayer, cursor: str | None, export: str | None) -> LookPage:
    """Who looked, with a line for each export; or the threads of one export, with a line for each thread."""
    # Few at first, so that the sections below stay in reach.
    limit = ROWS_A_PAGE if cursor or export else ROWS_AT_FIRST
    if export is None:
        return await layer.who_looked_by_export(cursor=cursor, limit=limit)
    found = await layer.who_looked(cursor=cursor, limit=limit, export=export)
    return LookPage(tuple(Look(one, 1, (one.thread_id,)) for one in found.entries), found.next_cursor)


def _login_rows(logins: Sequence[Login], request: Request) -> list[dict[str, Any]]:
    """The rows of the table of logins, including the login of this request even if it is not recorded yet."""
    say, here = speaker(request), login_at(request)
    if here is not None:
        # The stored time is older by some minutes, and a new login is not stored yet.
        stored = next((one for one in logins if one.token_hash == here.token_hash), here)
        logins = [replace(stored, seen_at=utc_now()), *(one for one in logins if one is not stored)]
    return [
        {
            "login": one,
            "where": browser_name(one.agent, say),
            "is_here": here is not None and one.token_hash == here.token_hash,
        }
        for one in logins
    ]


async def _account(layer: ChainlitLayer, person: Person) -> Account:
    account = await layer.get_account(person.identifier)
    if account is None:
        # Deleted within the seconds for which the gate caches its lookup.
        raise HTTPException(401)
    return account


async def _votes(layer: ChainlitLayer, owned: list[str]) -> list[Satisfaction]:
    """The votes on these assistants; counted for their owners, reviewers or not."""
    now = datetime.now(UTC)
    since, until = clean_time(now - timedelta(days=VOTES_DAYS), "since"), clean_time(now, "until")
    if since is None or until is None:
        return []
    with acting_as(SYSTEM):
        # The layer has no series with a single interval, so the days are added up.
        days = await layer.satisfaction(since, until, "day", "UTC", split_by="assistant")
    found = []
    for name in owned:
        own = [one for one in days if one.value == name]
        sums = (sum(one.answers for one in own), sum(one.up for one in own), sum(one.down for one in own))
        found.append(Satisfaction(since, until, name, *sums))
    return found


async def _limits(layer: ChainlitLayer, account: Account, zone: str) -> list[LimitStanding]:
    """The limits that hold for the user's chat, with what is used of them."""
    return await layer.limit_standings(account.user.id, await layer.project_id(DEFAULT_PROJECT), zone=zone)


async def _takeout(layer: ChainlitLayer, job_id: str) -> Job:
    """A takeout of the acting user."""
    job = await layer.get_job(job_id)
    if job is None or job.kind != TAKEOUT:
        raise HTTPException(404)
    return job


async def _newest_takeout(layer: ChainlitLayer) -> dict[str, Any] | None:
    """The newest takeout of the acting user, with the time when its file is deleted; None if it is deleted."""
    job = next(iter((await layer.list_jobs(kinds=[TAKEOUT], limit=1)).jobs), None)
    if job is None or job.state == "cancelled":
        return None
    ends = (
        clean_time(datetime.fromisoformat(job.ended_at) + timedelta(seconds=KEPT_SECONDS), "end")
        if job.ended_at
        else None
    )
    return None if ends is not None and ends < utc_now() else {"job": job, "ends": ends}
