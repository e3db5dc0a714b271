"""The addresses of Chainlit's page: visitors go to the login, and readers of a shared thread to the shared view.

Chainlit's page would load first and find out then. A visitor would see the chat for a moment. A reader who opens
`/thread/ID`, as the owner's address bar shows it, would get no connection until a reload.

The page of a cited passage names its document.
"""

import json
from http import HTTPStatus
from typing import Annotated, Any

import chainlit.server
from chainlit.auth import get_current_user
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from datalayer import DataLayerError
from threadkeeper.citations import PASSAGE
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.auth.roles import is_admin
from threadkeeper.web.first_start import PAGE, First
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.failures import login_address
from threadkeeper.web.pages.sentences import speaker

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
async def open_home(request: Request, first_start: First) -> Response:
    """The chat; a new operator is sent to the first steps, once."""
    try:
        person = person_at(request)
        is_for_them = (person is None or is_admin(person)) and "text/html" in request.headers.get("accept", "")
        if is_for_them and await first_start.is_due():
            # After a login, Chainlit's page asks for no page: the login has to be told where to go. `/admin` sends
            # others than admins to the chat.
            address = PAGE if person else f"/login?next={root_path()}/admin"
            return RedirectResponse(address, HTTPStatus.SEE_OTHER)
    except DataLayerError:
        return await _page(request)
    return await open_page(request)


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


@router.get("/project/thread/{thread_id}/element/{element_id}")
async def read_element(
    request: Request, user: Annotated[Any, Depends(get_current_user)], thread_id: str, element_id: str
) -> Response:
    """An element for its page, whose heading is its name. The name of a passage is the number that links it in the
    answer: here it names the document too."""
    answer: Response = await chainlit.server.get_thread_element(request, thread_id, element_id, user)
    element = json.loads(bytes(answer.body))
    passage = ((element or {}).get("props") or {}).get(PASSAGE)
    if not isinstance(passage, dict):
        return answer
    key = "passage_heading" if passage.get("page") is None else "passage_heading_on_page"
    return JSONResponse(element | {"name": speaker(request)(key, **passage)})


async def _page(request: Request) -> Response:
    page: Response = await chainlit.server.serve(request)
    return page
