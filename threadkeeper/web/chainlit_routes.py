"""Routes of Chainlit's that are answered better here first, and by Chainlit's own code after that."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import chainlit.server
from chainlit.auth import get_current_user, reuseable_oauth
from chainlit.data import get_data_layer
from chainlit.types import UpdateFeedbackRequest
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from threadkeeper.language import is_chinese
from threadkeeper.web.auth import person_at
from threadkeeper.web.pages.roles import may_review
from threadkeeper.web.pages.sentences import SENTENCES

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

    router.add_api_route("/project/settings", read_settings, include_in_schema=False, response_model=None)

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


async def read_settings(
    request: Request,
    current_user: CurrentUser,
    language: Annotated[str, Query(pattern=chainlit.server._language_pattern)] = "en-US",
    chat_profile: str | None = None,
) -> Any:
    """Chainlit's settings of its page; reviewers have a link to the review in its header, and nobody else."""
    answer = await chainlit.server.project_settings(current_user, language, chat_profile)
    person = person_at(request)
    if person is None or not may_review(person):
        return answer
    content = json.loads(bytes(answer.body))
    word = SENTENCES["nav_review"][is_chinese(language)]
    link = {
        "name": "Review",
        "display_name": word,
        "icon_url": "/public/review.svg",
        "url": "/review",
        "target": "_self",
    }
    content["ui"]["header_links"] = [*(content["ui"].get("header_links") or []), link]
    return JSONResponse(content)
