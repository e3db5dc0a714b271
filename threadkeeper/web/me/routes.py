"""The page at `/me`: who looked, what is shared, a takeout, the logins, and the end of it all with a receipt.

Everything here is the acting user's own; nobody sees another's, whatever their role. Owners of an assistant see how
many thumbs it got, and nothing of what was said to it.
"""

import asyncio
import hmac
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, Login, acting_as
from datalayer.cleaning import clean_text, clean_time, known_id, utc_now
from datalayer.records.review import Satisfaction
from datalayer.takeout.export import export_user
from datalayer.takeout.format import readable
from threadkeeper.web.auth.gate import Person, login_at
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.auth.tokens import clear_login_cookie
from threadkeeper.web.me.browsers import described
from threadkeeper.web.me.reader import OwnReader
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.downloads import Download, attachment
from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.shell import BadAddress, Pages, speaker
from threadkeeper.web.review.addresses import to
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

ROWS_AT_FIRST = 10
ROWS_A_PAGE = 50
VOTES_DAYS = 30
TAKEOUTS_AT_ONCE = 2
LONGEST_FILE_LINK = 1_500_000
"""Browsers take no address of more than 2 MB; a receipt names every row."""
_FILE_LINK = "data:application/json;charset=utf-8,"
_CHUNK = 256 * 1024
_LONGEST_CURSOR = 40


def me_router(layer: Callable[[], OwnReader], pages: Pages, owners: Mapping[str, tuple[str, ...]]) -> APIRouter:
    """The page, and what is posted from it.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        owners: whose each assistant is, by its name.
    """
    router = APIRouter(route_class=pages.route())
    # Each is as large as all that somebody has, on this machine's disk.
    making = asyncio.Semaphore(TAKEOUTS_AT_ONCE)

    @router.get("/me", include_in_schema=False)
    async def read_me(request: Request, person: LoggedIn) -> Response:
        cursor = clean_text(request.query_params.get("cursor", "")) or None
        if cursor and len(cursor) > _LONGEST_CURSOR:
            raise BadAddress("bad_cursor")
        # Few at first: what else is on the page is to be found below them.
        looked = await layer().who_looked(cursor=cursor, limit=ROWS_A_PAGE if cursor else ROWS_AT_FIRST)
        names = await layer().names_of_threads({one.thread_id for one in looked.entries if one.thread_id})
        account = await _account(layer(), person)
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        owned = [name for name, people in owners.items() if person.identifier in people]
        values = {
            "account": account.user,
            "has_password": account.password_hash is not None,
            "looked": looked,
            "cursor": cursor,
            "names": names,
            "logins": _shown(await layer().list_logins(), request),
            "shared": await layer().shared_threads(),
            "votes": await _votes(layer(), owned) if owned else [],
            "votes_days": VOTES_DAYS,
            "rows_a_page": ROWS_A_PAGE,
            "formats": formats,
            "reader_zone": zone,
            "zone": zone.key,
        }
        return pages.page(request, "me/overview.html", values, person=person)

    @router.post("/me/shared/{thread_id}/stop", include_in_schema=False)
    async def stop_sharing(person: LoggedIn, form: Form, thread_id: str) -> Response:  # noqa: ARG001  it is demanded
        known = known_id(thread_id)
        if known is None or await layer().get_thread_author(known) != person.identifier:
            raise HTTPException(404)
        await layer().update_thread(known, metadata={"is_shared": None, "shared_at": None})
        return to("/me#shared")

    @router.post("/me/takeout", include_in_schema=False)
    async def take_out(person: LoggedIn, form: Form) -> Response:  # noqa: ARG001
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="takeout-"))
        path = folder / "takeout.zip"
        try:
            async with making:
                await export_user(layer().database, layer().blobs, person.identifier, path)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        name = f"{readable(person.identifier, 'user')}-{datetime.now(UTC).date()}.zip"
        plain = name if name.isascii() and '"' not in name else "takeout.zip"
        return Download(_file(folder, path), b"", media_type="application/zip", headers=attachment(plain))

    @router.post("/me/logins/{login_id}/end", include_in_schema=False)
    async def end_one_login(person: LoggedIn, form: Form, login_id: str) -> Response:  # noqa: ARG001
        await layer().end_login(login_id)
        return to("/me#logins")

    @router.post("/me/log-out", include_in_schema=False)
    async def log_out_everywhere(request: Request, person: LoggedIn, form: Form) -> Response:  # noqa: ARG001
        await layer().end_logins()
        response = to("/login")
        clear_login_cookie(request, response)
        return response

    @router.post("/me/delete", include_in_schema=False)
    async def delete_me(request: Request, person: LoggedIn, form: Form) -> Response:
        if not hmac.compare_digest(form.one("confirm", longest=1_000).strip().encode(), person.identifier.encode()):
            raise BadAddress("me_delete_wrong")
        receipt = await layer().delete_user(person.identifier)
        said = asdict(receipt)
        link = _FILE_LINK + quote(json.dumps(said, ensure_ascii=False, separators=(",", ":")))
        values = {
            "receipt": json.dumps(said, ensure_ascii=False, indent=2),
            "file_link": link if len(link) <= LONGEST_FILE_LINK else None,
            "files_left": len(receipt.files_left),
        }
        response = pages.page(request, "me/deleted.html", values, person=None)
        clear_login_cookie(request, response)
        return response

    return router


def _shown(logins: Sequence[Login], request: Request) -> list[dict[str, Any]]:
    """The logins as the page shows them, and which of them is this very one, recorded already or not."""
    say, here = speaker(request), login_at(request)
    if here is not None and all(one.token_hash != here.token_hash for one in logins):
        logins = [replace(here, seen_at=utc_now()), *logins]
    return [
        {
            "login": one,
            "where": described(one.agent, say),
            "is_here": here is not None and one.token_hash == here.token_hash,
        }
        for one in logins
    ]


async def _account(layer: OwnReader, person: Person) -> Any:
    account = await layer.get_account(person.identifier)
    if account is None:
        # Deleted a moment ago, and remembered for a few seconds more by who lets people in.
        raise HTTPException(401)
    return account


async def _votes(layer: OwnReader, owned: list[str]) -> list[Satisfaction]:
    """The thumbs on these assistants, which are counted for whoever owns them, reviewer or not."""
    now = datetime.now(UTC)
    since, until = clean_time(now - timedelta(days=VOTES_DAYS), "since"), clean_time(now, "until")
    if since is None or until is None:
        return []
    with acting_as(SYSTEM):
        # One period would not be one series: the days are added up.
        days = await layer.satisfaction(since, until, "day", "UTC", split_by="assistant")
    found = []
    for name in owned:
        own = [one for one in days if one.value == name]
        sums = (sum(one.answers for one in own), sum(one.up for one in own), sum(one.down for one in own))
        found.append(Satisfaction(since, until, name, *sums))
    return found


async def _file(folder: Path, path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file, which goes with its folder when its reader has it, or has gone."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
