"""The page at `/me/threads/{id}/fork`: begins a new thread that goes on from a message of one's own."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id, utc_now
from datalayer.thought import speech_of
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.zone import Zone

_SHOWN_CHARACTERS = 300
MESSAGES_A_PAGE = 50

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/me/threads/{thread_id}/fork")
async def choose_message(
    *,
    request: Request,
    person: LoggedIn,
    layer: Layer,
    pages: Pages,
    zone: Zone,
    thread_id: str,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    known = known_id(thread_id)
    thread = None if known is None else await layer.get_thread_head(known)
    # The layer also gives shared threads of others.
    if known is None or thread is None or thread["userIdentifier"] != person.identifier:
        raise HTTPException(404)
    messages, following = await layer.page_of_messages(known, cursor=before, limit=MESSAGES_A_PAGE)
    values = {
        "thread": thread,
        "messages": [_shown(step) for step in messages],
        "is_first": before is None,
        "next_cursor": following,
        "rows_a_page": MESSAGES_A_PAGE,
    }
    return pages.page(request, "me/fork.html", values, person=person, zone=zone)


@router.post("/me/threads/{thread_id}/fork")
async def fork(request: Request, _person: LoggedIn, form: Form, layer: Layer, thread_id: str) -> Response:
    known, step_id = known_id(thread_id), known_id(form.one("step", longest=40))
    if known is None or step_id is None:
        raise HTTPException(404)
    return redirect_to(f"/thread/{await fork_and_tell(layer, known, step_id, speaker(request))}")


async def fork_and_tell(layer: ChainlitLayer, thread_id: str, step_id: str, say: Say) -> str:
    """Fork the thread, and say in the fork what it goes on from; returns the id of the fork."""
    forked = await layer.fork_thread(thread_id, step_id, title_ending=say("fork_ending"))
    head = await layer.get_thread_head(thread_id)
    name = " ".join(((head or {}).get("name") or say("thread_without_name")).split())
    told = {
        "id": str(uuid.uuid4()),
        "threadId": forked,
        "type": "assistant_message",
        "name": "Threadkeeper",
        "output": say("fork_notice", name=name),
        "createdAt": utc_now(),
        "metadata": {"status": "notice"},
    }
    await layer.create_step(told)
    return forked


def _shown(step: Mapping[str, Any]) -> dict[str, Any]:
    is_question = step["type"] == "user_message"
    text = step["output"] if is_question else speech_of(step["output"])
    shown = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return {"id": step["id"], "is_question": is_question, "text": shown, "at": step["createdAt"]}
