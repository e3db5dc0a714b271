"""Routes of Chainlit's that are answered better here first, and by Chainlit's own code after that."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import chainlit.server
from chainlit.auth import get_current_user, reuseable_oauth
from chainlit.data import get_data_layer
from chainlit.types import UpdateFeedbackRequest
from fastapi import APIRouter, Depends, HTTPException, Request, Response, UploadFile

CurrentUser = Annotated[Any, Depends(get_current_user)]

Voted = Callable[[UpdateFeedbackRequest], Awaitable[None]]


def chainlit_router(voted: Voted | None = None) -> APIRouter:
    """The routes.

    Args:
        voted: is told of a vote that is stored; what it fails at does not undo the vote.
    """
    router = APIRouter()
    router.add_api_route("/user", read_user, include_in_schema=False, response_model=None)
    router.add_api_route("/project/file", upload_file, methods=["POST"], include_in_schema=False, response_model=None)

    async def vote_and_tell(update: UpdateFeedbackRequest, current_user: CurrentUser) -> Any:
        answer = await vote(update, current_user)
        if voted is not None:
            await voted(update)
        return answer

    router.add_api_route("/feedback", vote_and_tell, methods=["PUT"], include_in_schema=False, response_model=None)
    return router


async def read_user(request: Request) -> Any:
    """Who is logged in. A visitor is nobody, which is no error: a 401 would be one in the browser's console."""
    token = await reuseable_oauth(request)
    return await get_current_user(token) if token else Response(status_code=204)


async def upload_file(
    current_user: CurrentUser, session_id: str, file: UploadFile, ask_parent_id: str | None = None
) -> Any:
    """Chainlit's upload, which fails without words at a file of no bytes."""
    if file.size == 0:
        raise HTTPException(400, "The file is empty.")
    return await chainlit.server.upload_file(current_user, session_id, file, ask_parent_id)


async def vote(update: UpdateFeedbackRequest, current_user: CurrentUser) -> Any:  # noqa: ARG001  it demands a login
    """A vote. Chainlit answers every refusal with 500; the data layer's errors have answers of their own."""
    layer = get_data_layer()
    if layer is None:
        raise HTTPException(500, "Data persistence is not enabled.")
    return {"success": True, "feedbackId": await layer.upsert_feedback(update.feedback)}
