"""Routes of Chainlit's that are answered better here first, and by Chainlit's own code after that."""

from typing import Annotated, Any

import chainlit.server
from chainlit.auth import get_current_user, reuseable_oauth
from chainlit.data import get_data_layer
from chainlit.types import UpdateFeedbackRequest
from fastapi import APIRouter, Depends, HTTPException, Request, Response, UploadFile

CurrentUser = Annotated[Any, Depends(get_current_user)]

router = APIRouter()


@router.get("/user", include_in_schema=False, response_model=None)
async def read_user(request: Request) -> Any:
    """Who is logged in. A visitor is nobody, which is no error: a 401 would be one in the browser's console."""
    token = await reuseable_oauth(request)
    return await get_current_user(token) if token else Response(status_code=204)


@router.post("/project/file", include_in_schema=False, response_model=None)
async def upload_file(
    current_user: CurrentUser, session_id: str, file: UploadFile, ask_parent_id: str | None = None
) -> Any:
    """Chainlit's upload, which fails without words at a file of no bytes."""
    if file.size == 0:
        raise HTTPException(400, "The file is empty.")
    return await chainlit.server.upload_file(current_user, session_id, file, ask_parent_id)


@router.put("/feedback", include_in_schema=False, response_model=None)
async def vote(update: UpdateFeedbackRequest, current_user: CurrentUser) -> Any:  # noqa: ARG001  it demands a login
    """A vote. Chainlit answers every refusal with 500; the data layer's errors have answers of their own."""
    layer = get_data_layer()
    if layer is None:
        raise HTTPException(500, "Data persistence is not enabled.")
    return {"success": True, "feedbackId": await layer.upsert_feedback(update.feedback)}
