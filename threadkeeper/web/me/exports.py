"""The page at `/me/export`: the acting user's threads, or one of them, as a file for people or for other programs."""

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from threadkeeper.exporting.export import FORMATS, export
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.downloads import Download, attachment
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/me/export"

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(ADDRESS)
async def read_export(*, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone) -> Response:
    thread_id = await _own(layer, request.query_params.get("thread"))
    name = "" if thread_id is None else (await layer.names_of_threads([thread_id]))[thread_id]
    values = {"formats": tuple(FORMATS), "thread_id": thread_id, "name": name}
    return pages.page(request, "me/export.html", values, person=person, zone=zone)


@router.get(ADDRESS + "/{thread_format}")
async def download_export(
    *, request: Request, person: LoggedIn, layer: Layer, zone: Zone, thread_format: str
) -> Response:
    if thread_format not in FORMATS:
        raise HTTPException(404)
    thread_id = await _own(layer, request.query_params.get("thread"))
    ending, media_type = FORMATS[thread_format]
    headers = attachment(f"{thread_id or 'threads'}.{ending}")
    chosen = None if thread_id is None else [thread_id]
    parts = export(layer, person.id, thread_format, chosen, zone=zone, language=speaker(request).language)
    return Download(parts, b"", media_type=media_type, headers=headers)


async def _own(layer: ChainlitLayer, thread_id: str | None) -> str | None:
    """The id of a thread of the acting user; None for all threads."""
    if thread_id is None:
        return None
    known = known_id(thread_id)
    if known is None or known not in await layer.names_of_threads([known]):
        raise HTTPException(404)
    return known
