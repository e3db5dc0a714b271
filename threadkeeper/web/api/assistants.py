"""Assistants: those that the caller may use; admins make them, and their owners and admins change them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from datalayer import Forbidden, InvalidAssistant, VersionConflict
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import Assistant, AssistantSettings
from threadkeeper.knowledge.acts import demand_editable
from threadkeeper.web.api.access import AssistantCaller
from threadkeeper.web.api.assistant_shapes import (
    AssistantPage,
    ChangedAssistant,
    NewAssistant,
    Numbers,
    ShownAssistant,
    access_given,
    assistant_of,
    etag_of_assistant,
    numbers_of,
    problem_of_assistant,
)
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, IfMatch, Limit, demand_match, page_of
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_MOST = 2**31 - 1
Number = Annotated[int, Path(ge=1, le=_MOST)]
_PICTURES = {"image/*": {"schema": {"type": "string", "format": "binary"}}}


@router.get("/assistants")
async def list_assistants(
    _caller: AssistantCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20
) -> AssistantPage:
    """The assistants that the user may use, by slug."""
    found = sorted(await layer.list_assistants(), key=lambda one: one.slug)
    page, following = page_of(found, lambda one: one.slug, cursor, limit)
    return AssistantPage(data=[assistant_of(one) for one in page], next_cursor=following)


@router.post("/assistants", status_code=201, dependencies=[once_with("assistants")])
async def create_assistant(
    request: Request, _caller: AssistantCaller, layer: Layer, given: NewAssistant, response: Response
) -> ShownAssistant:
    """Make an assistant; admins do. Its owner is the caller, unless another is named."""
    try:
        made = await layer.create_assistant(
            settings_with(AssistantSettings(""), given.settings),
            slug=given.slug,
            access=access_given(given.access) if given.access else None,
            owner=given.owner,
        )
    except InvalidAssistant as error:
        raise problem_of_assistant(error) from None
    except Forbidden:
        raise Problem(403, "forbidden", "Only admins make assistants.") from None
    note_done(request)
    response.headers["Location"] = location_of(f"/assistants/{made.slug}")
    return _shown(made, response, may_edit=True)


@router.get("/assistants/{slug}")
async def read_assistant(
    *,
    _caller: AssistantCaller,
    layer: Layer,
    slug: str,
    response: Response,
    version: Annotated[int | None, Query(ge=1, le=_MOST, description="By default the newest.")] = None,
) -> ShownAssistant:
    """An assistant."""
    return _shown(await layer.get_assistant(slug, version), response)


@router.patch("/assistants/{slug}")
async def change_assistant(
    *,
    caller: AssistantCaller,
    layer: Layer,
    slug: str,
    given: ChangedAssistant,
    response: Response,
    if_match: IfMatch = None,
) -> ShownAssistant:
    """Save a new version of an assistant. With `If-Match`, only if nobody saved meanwhile."""
    found = await _unchanged(layer, slug, if_match)
    try:
        saved = await layer.save_assistant(
            slug,
            settings_with(found.settings, given.settings),
            # The fields that are left out are those of this version: a newer one must not get them back.
            expected_version=found.version,
            access=access_given(given.access) if given.access else None,
            owner=given.owner,
        )
    except InvalidAssistant as error:
        raise problem_of_assistant(error) from None
    except VersionConflict as conflict:
        raise _changed(conflict, if_match) from None
    keeps = caller.role == "admin" or saved.owner == caller.identifier
    return _shown(saved, response, may_edit=keeps)


@router.delete("/assistants/{slug}", status_code=204)
async def delete_assistant(_caller: AssistantCaller, layer: Layer, slug: str, if_match: IfMatch = None) -> None:
    """Delete an assistant with all that it knows. Its threads stay and are answered without it."""
    found = await _unchanged(layer, slug, if_match)
    try:
        await layer.delete_assistant(slug, expected_version=None if if_match is None else found.version)
    except VersionConflict as conflict:
        raise _changed(conflict, if_match) from None


@router.get("/assistants/{slug}/versions")
async def list_versions(
    _caller: AssistantCaller, layer: Layer, slug: str, cursor: Cursor = None, limit: Limit = 20
) -> AssistantPage:
    """All versions of an assistant, newest first; for its owner and admins."""
    await own_assistant(layer, slug)
    found = await layer.list_assistant_versions(slug)
    page, following = page_of(found, lambda one: str(one.version), cursor, limit)
    return AssistantPage(data=[assistant_of(one) for one in page], next_cursor=following)


@router.post("/assistants/{slug}/versions/{version}/restore", dependencies=[once_with("assistants")])
async def restore_version(
    *,
    request: Request,
    _caller: AssistantCaller,
    layer: Layer,
    slug: str,
    version: Number,
    response: Response,
    if_match: IfMatch = None,
) -> ShownAssistant:
    """Save the settings and the picture of an earlier version as a new version."""
    found = await _unchanged(layer, slug, if_match)
    try:
        saved = await layer.restore_assistant(
            slug, version, expected_version=None if if_match is None else found.version
        )
    except VersionConflict as conflict:
        raise _changed(conflict, if_match) from None
    note_done(request)
    return _shown(saved, response, may_edit=True)


@router.get("/assistants/{slug}/numbers")
async def read_numbers(_caller: AssistantCaller, layer: Layer, slug: str) -> Numbers:
    """Threads, votes and cost of an assistant, of all versions and of each; for its owner and admins."""
    await own_assistant(layer, slug)
    return numbers_of(await layer.assistant_numbers(slug))


@router.get("/assistants/{slug}/picture", response_class=Response, responses={200: {"content": _PICTURES}})
async def read_picture(_caller: AssistantCaller, layer: Layer, slug: str) -> Response:
    """The picture of an assistant."""
    found = await layer.get_assistant(slug)
    if found.picture is None:
        raise not_found("picture")
    picture = await layer.assistant_picture(slug, found.picture)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(picture.content, media_type=picture.media_type, headers=headers)


@router.put("/assistants/{slug}/picture", openapi_extra={"requestBody": {"content": _PICTURES}})
async def put_picture(
    *, request: Request, _caller: AssistantCaller, layer: Layer, slug: str, response: Response, if_match: IfMatch = None
) -> ShownAssistant:
    """Give an assistant a picture: PNG, JPEG, GIF or WebP, at most 256 kB. An empty body removes it."""
    found = await _unchanged(layer, slug, if_match)
    try:
        saved = await layer.save_assistant(
            slug, found.settings, expected_version=found.version, picture=await request.body()
        )
    except InvalidAssistant as error:
        raise invalid("body", "; ".join(error.sentences)) from None
    except VersionConflict as conflict:
        raise _changed(conflict, if_match) from None
    return _shown(saved, response, may_edit=True)


async def own_assistant(layer: ChainlitLayer, slug: str) -> Assistant:
    """The assistant, which the caller may edit.

    Raises:
        NotFound: there is none that the caller may use.
        Problem: the caller may use it, but not edit it.
    """
    try:
        return await demand_editable(layer, slug)
    except Forbidden:
        raise Problem(403, "forbidden", "Only its owner and admins may do this with the assistant.") from None


async def _unchanged(layer: ChainlitLayer, slug: str, if_match: Sequence[str] | None) -> Assistant:
    """As `own_assistant`, if it is still as its reader saw it."""
    found = await own_assistant(layer, slug)
    demand_match(if_match, etag_of_assistant(found))
    return found


def _shown(found: Assistant, response: Response, *, may_edit: bool | None = None) -> ShownAssistant:
    """The assistant with its `ETag`. `may_edit`: of the caller, where the layer does not tell."""
    if may_edit is not None:
        found = replace(found, may_edit=may_edit)
    response.headers["ETag"] = etag_of_assistant(found)
    return assistant_of(found)


def settings_with(before: AssistantSettings, given: Any) -> AssistantSettings:
    """The settings with those that were given (`GivenSettings`, or None)."""
    changes: dict[str, Any] = {} if given is None else given.model_dump(exclude_unset=True)
    return replace(before, **changes)


def _changed(conflict: VersionConflict, if_match: Sequence[str] | None) -> Problem:
    sentence = f"Somebody saved version {conflict.current} meanwhile. Read the assistant again."
    return Problem(409 if if_match is None else 412, "changed", sentence)
