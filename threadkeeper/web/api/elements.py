"""Files and other elements of a thread: list them, and download a file."""

from fastapi import APIRouter, Response

from datalayer.blobs.headers import content_disposition
from threadkeeper.web.api.access import Reader
from threadkeeper.web.api.problems import not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.api.shapes import Element, ElementList
from threadkeeper.web.api.threads import demand_own_thread, own_whole_thread
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.downloads import Download, content_of

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


@router.get("/threads/{thread_id}/elements")
async def list_elements(caller: Reader, layer: Layer, thread_id: str) -> ElementList:
    """The files and other elements of a thread."""
    found = await own_whole_thread(layer, caller, thread_id)
    return ElementList(
        data=[
            Element(
                id=one["id"],
                message_id=one.get("forId"),
                name=one.get("name"),
                type=one.get("type"),
                mime=one.get("mime"),
                has_file=bool(one.get("objectKey")),
            )
            for one in found.get("elements") or ()
        ]
    )


@router.get(
    "/threads/{thread_id}/elements/{element_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def download_element(caller: Reader, layer: Layer, thread_id: str, element_id: str) -> Response:
    """The file of an element, as a download."""
    found = await layer.open_element(await demand_own_thread(layer, caller, thread_id), element_id)
    if found is None:
        raise not_found("file")
    element, blob = found
    # Never as a page of this origin.
    headers = {
        "Content-Disposition": content_disposition(element.name, "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(blob.size),
    }
    return Download(content_of(blob), b"", media_type="application/octet-stream", headers=headers)
