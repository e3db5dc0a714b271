"""Exports of threads as files, as at `/me/export`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.exporting.export import FORMATS, export
from threadkeeper.web.api.access import Reader
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.api.threads import demand_own_thread
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.downloads import Download, attachment

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            media_type.partition(";")[0]: {"schema": {"type": "object" if ending == "json" else "string"}}
            for ending, media_type in FORMATS.values()
        }
    }
}
Format = Annotated[
    Literal["markdown", "html", "json", "openai"],
    Query(description="`json` has everything, and can be imported; `openai` has a line of messages for each thread."),
]


@router.get("/export", response_class=Response, responses=_FILES)
async def export_threads(caller: Reader, layer: Layer, format: Format = "json") -> Response:  # noqa: A002
    """All threads of the user as one file."""
    return _file(layer, caller.user_id, format, None)


@router.get("/threads/{thread_id}/export", response_class=Response, responses=_FILES)
async def export_thread(caller: Reader, layer: Layer, thread_id: str, format: Format = "json") -> Response:  # noqa: A002
    """A thread as a file."""
    return _file(layer, caller.user_id, format, await demand_own_thread(layer, caller, thread_id))


def _file(layer: ChainlitLayer, user_id: str, thread_format: str, thread_id: str | None) -> Response:
    ending, media_type = FORMATS[thread_format]
    parts = export(layer, user_id, thread_format, None if thread_id is None else [thread_id])
    return Download(parts, b"", media_type=media_type, headers=attachment(f"{thread_id or 'threads'}.{ending}"))
