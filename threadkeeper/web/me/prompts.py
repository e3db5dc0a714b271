"""The page at `/me/prompts`: the user's prompts, which the chat's composer offers as commands."""

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import AlreadyExists, InvalidRecord
from datalayer.cleaning import known_id
from datalayer.prompts.prompts import LONGEST_NAME, LONGEST_TEXT
from threadkeeper.language.catalogue import CHAT
from threadkeeper.web.auth.roles import LoggedIn, is_admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/me/prompts"

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def is_command(name: str) -> bool:
    """Whether the composer has a command of this name: it would hide the prompt."""
    return name.strip() in CHAT.forms("temporary_command")


@router.get(ADDRESS)
async def read_prompts(*, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone) -> Response:
    values = {
        "prompts": await layer.list_prompts(),
        "may_share": is_admin(person),
        "longest_name": LONGEST_NAME,
        "longest_text": LONGEST_TEXT,
    }
    return pages.page(request, "me/prompts.html", values, person=person, zone=zone)


@router.post(ADDRESS, dependencies=[page_of_form(ADDRESS)])
async def put_prompt(_person: LoggedIn, form: Form, layer: Layer) -> Response:
    prompt_id = form.one("prompt", longest=40) or None
    if prompt_id is not None and known_id(prompt_id) is None:
        raise HTTPException(404)
    at = prompt_id or "new"
    name = form.one("name", longest=LONGEST_NAME, shown_at=f"name-{at}")
    text = form.one("text", longest=LONGEST_TEXT, shown_at=f"text-{at}")
    if is_command(name.removeprefix("/")):
        raise InvalidField(f"name-{at}", "prompt_is_command", name=name)
    try:
        await layer.put_prompt(name.removeprefix("/"), text, is_shared=form.has("is_shared"), prompt_id=prompt_id)
    except AlreadyExists:
        raise InvalidField(f"name-{at}", "prompt_exists", name=name) from None
    except InvalidRecord:
        raise InvalidField(f"name-{at}", "prompt_refused") from None
    return redirect_to(ADDRESS)


@router.post(f"{ADDRESS}/{{prompt_id}}/delete")
async def delete_prompt(_person: LoggedIn, _form: Form, layer: Layer, prompt_id: str) -> Response:
    known = known_id(prompt_id)
    if known is None or not await layer.delete_prompt(known):
        raise HTTPException(404)
    return redirect_to(ADDRESS)
