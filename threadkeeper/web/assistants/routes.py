"""The pages at `/assistants`: the list, the form with a place to try it, versions and numbers.

Everyone sees the assistants that they may use. The owner and admins edit them; the layer checks that. A form is stored
only if nobody saved since it was loaded.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Response

from datalayer import InvalidAssistant, VersionConflict
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import AlreadyExists
from datalayer.records.assistants import Assistant, AssistantAccess, AssistantSettings
from threadkeeper.web.assistants import comparing
from threadkeeper.web.assistants.editing import Editor
from threadkeeper.web.assistants.fields import access_of, filled, posted_values, sentences, settings_of
from threadkeeper.web.assistants.knowledge.states import in_words, states_of
from threadkeeper.web.assistants.pictures import PictureForm
from threadkeeper.web.auth.roles import Admin, LoggedIn, is_admin
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to

_KEPT_PICTURE = "private, max-age=31536000, immutable"
_NEW = Assistant("", "", 0, 0, AssistantSettings(""), may_edit=True)
_MOST = 2**31 - 1

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/assistants")
async def list_assistants(editor: Editor, layer: Layer) -> Response:
    assistants = await layer.list_assistants()
    states = await states_of(layer, [one.slug for one in assistants if one.may_edit])
    values = {
        "assistants": assistants,
        "may_create": is_admin(editor.person),
        "knowledge": {slug: in_words(state, editor.say) for slug, state in states.items()},
    }
    return editor.pages.page(editor.request, "assistants/list.html", values, person=editor.person, zone=editor.zone)


@router.get("/assistants/new")
async def begin_assistant(_person: Admin, editor: Editor) -> Response:
    return editor.page(_NEW, filled(_NEW.settings, AssistantAccess(), editor.person.identifier))


@router.post("/assistants/new")
async def create_assistant(editor: Editor, form: Form, layer: Layer) -> Response:
    if not is_admin(editor.person):
        raise HTTPException(404)
    say = editor.say
    values = posted_values(form, filled(_NEW.settings, AssistantAccess(), editor.person.identifier))
    settings = settings_of(values, _NEW.settings, say)
    if form.one("do") == "try":
        tried = await editor.tried(form, replace(_NEW, settings=settings))
        return editor.page(_NEW, Filled(values, {}), form=form, tried=tried)
    try:
        made = await layer.create_assistant(settings, access=access_of(values), owner=values["owner"])
    except InvalidAssistant as error:
        problems, status = sentences(error.problems, say), 400
        if problems.pop("slug", None):
            # The slug is made of the name.
            problems.setdefault("name", say("assistant_bad_name"))
    except AlreadyExists:
        problems, status = {"name": say("assistant_name_taken")}, 409
    else:
        return redirect_to(f"{_address(made)}?saved=1")
    return editor.page(_NEW, Filled(values, problems), form=form, status=status)


@router.get("/assistants/{slug}")
async def read_assistant(editor: Editor, layer: Layer, slug: str) -> Response:
    assistant = await layer.get_assistant(slug)
    if not assistant.may_edit:
        return editor.pages.page(editor.request, "assistants/show.html", {"assistant": assistant}, person=editor.person)
    facts = await _facts(editor, layer, slug)
    return editor.page(assistant, filled(assistant.settings, assistant.access, assistant.owner), **facts)


@router.post("/assistants/{slug}")
async def save_assistant(editor: Editor, form: Form, layer: Layer, slug: str) -> Response:
    say, assistant = editor.say, await _editable(layer, slug)
    values = posted_values(form, filled(assistant.settings, assistant.access, assistant.owner))
    settings, expected = settings_of(values, assistant.settings, say), int(form.number("version", least=1, most=_MOST))
    based = replace(assistant, version=expected)
    if form.one("do") == "try":
        tried = await editor.tried(form, replace(assistant, settings=settings))
        facts = await _facts(editor, layer, slug)
        return editor.page(based, Filled(values, {}), **facts, form=form, tried=tried)
    problems: dict[str, str] = {}
    newer, status = None, 400
    try:
        saved = await layer.save_assistant(
            slug, settings, expected_version=expected, access=access_of(values), owner=values["owner"]
        )
    except InvalidAssistant as error:
        problems = sentences(error.problems, say)
    except VersionConflict as conflict:
        based, newer, status = replace(based, version=conflict.current), (expected, conflict.current), 409
    else:
        keeps = is_admin(editor.person) or saved.owner == editor.person.identifier
        # Who gave the assistant away may not see it any more.
        return redirect_to(f"{_address(saved)}?saved={saved.version}" if keeps else "/assistants")
    facts = await _facts(editor, layer, slug)
    return editor.page(based, Filled(values, problems), **facts, form=form, newer=newer, status=status)


@router.get("/assistants/{slug}/versions")
async def read_versions(editor: Editor, layer: Layer, slug: str) -> Response:
    versions = await layer.list_assistant_versions(slug)
    by_number, asked = {one.version: one for one in versions}, editor.request.query_params
    new = by_number.get(_whole(asked.get("to")), versions[0])
    old = by_number.get(_whole(asked.get("from")), by_number.get(new.version - 1, new))
    values = {"assistant": versions[0], "versions": versions, "old": old, "new": new}
    values["changes"] = comparing.changes(old, new)
    return editor.pages.page(editor.request, "assistants/versions.html", values, person=editor.person, zone=editor.zone)


@router.post("/assistants/{slug}/restore")
async def restore_assistant(_person: LoggedIn, form: Form, layer: Layer, slug: str) -> Response:
    version, expected = (int(form.number(name, least=1, most=_MOST)) for name in ("version", "expected"))
    try:
        saved = await layer.restore_assistant(slug, version, expected_version=expected)
    except VersionConflict as conflict:
        raise InvalidInput("assistant_conflict", version=conflict.current) from None
    return redirect_to(f"{_address(saved)}?saved={saved.version}")


@router.post("/assistants/{slug}/delete", dependencies=[page_of_form("/assistants/{slug}")])
async def delete_assistant(_person: LoggedIn, form: Form, layer: Layer, slug: str) -> Response:
    if form.one("confirm").strip() != slug:
        raise InvalidField("confirm", "assistant_delete_wrong", name=slug[:100])
    await layer.delete_assistant(slug)
    return redirect_to("/assistants")


@router.post("/assistants/{slug}/picture", dependencies=[page_of_form("/assistants/{slug}")])
async def change_picture(editor: Editor, form: PictureForm, layer: Layer, slug: str) -> Response:
    assistant = await _editable(layer, slug)
    try:
        saved = await layer.save_assistant(
            slug, assistant.settings, expected_version=_whole(form.version), picture=form.content
        )
    except InvalidAssistant as error:
        said = sentences(error.problems, editor.say)
        raise InvalidField("picture-file", "assistant_bad_field", problem=" ".join(said.values())) from None
    except VersionConflict as conflict:
        raise InvalidInput("assistant_conflict", version=conflict.current) from None
    return redirect_to(f"{_address(saved)}?saved={saved.version}")


@router.get("/assistants/{slug}/picture/{sha256}")
async def read_picture(_person: LoggedIn, layer: Layer, slug: str, sha256: str) -> Response:
    picture = await layer.assistant_picture(slug, sha256)
    headers = {
        "Cache-Control": _KEPT_PICTURE,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(picture.content, media_type=picture.media_type, headers=headers)


async def _facts(editor: Editor, layer: ChainlitLayer, slug: str) -> dict[str, Any]:
    """What the form shows of an assistant beside its settings."""
    states = await states_of(layer, [slug])
    return {"numbers": await layer.assistant_numbers(slug), "knowledge": in_words(states[slug], editor.say)}


async def _editable(layer: ChainlitLayer, slug: str) -> Assistant:
    assistant = await layer.get_assistant(slug)
    if not assistant.may_edit:
        raise HTTPException(404)
    return assistant


def _address(assistant: Assistant) -> str:
    return f"/assistants/{quote(assistant.slug)}"


def _whole(text: str | None) -> int:
    """The text as a number; 0, which no version has, if it is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else 0
