"""The addresses of Chainlit's page: visitors go to the login, and readers of a shared thread to the shared view.

Chainlit's page would load first and find out then. A visitor would see the chat for a moment. A reader who opens
`/thread/ID`, as the owner's address bar shows it, would get no connection until a reload.
"""

from http import HTTPStatus

import chainlit.server
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from datalayer import DataLayerError
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.failures import login_address

router = APIRouter(include_in_schema=False)


@router.get("/thread/{thread_id}")
async def open_thread(request: Request, layer: Layer, thread_id: str) -> Response:
    try:
        if person_at(request) is not None:
            heading = await layer.heading_of_thread(thread_id)
            if heading is not None and not heading.is_own:
                # Relative, so that it holds behind every proxy.
                return RedirectResponse(f"../share/{heading.id}", HTTPStatus.SEE_OTHER)
    except DataLayerError:
        # The page shows its own error for data that it cannot load.
        return await _page(request)
    return await open_page(request)


@router.get("/")
@router.get("/thread")
@router.get("/share/{thread_id}")
@router.get("/element/{element_id}")
async def open_page(request: Request) -> Response:
    try:
        person = person_at(request)
    except DataLayerError:
        return await _page(request)
    # Only browsers: a monitor that asks for the page gets it.
    if person is None and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(login_address(request), HTTPStatus.SEE_OTHER)
    return await _page(request)


async def _page(request: Request) -> Response:
    page: Response = await chainlit.server.serve(request)
    return page
