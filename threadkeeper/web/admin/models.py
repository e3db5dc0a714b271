"""The models at `/admin/models`: which are in the picker of the chat and for whom, what the configured servers offer
now, and a trial of each model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.chat_models.chat_models import LONGEST_MODEL_NAME
from datalayer.cleaning import clean_text
from datalayer.errors import InvalidAssistant
from datalayer.records.chat_models import ChatModel
from datalayer.records.usage import LlmCall
from threadkeeper.offered_models import Choice, OfferedModels, decided
from threadkeeper.web.admin.asking import Lists, ServerList, Trial, TryModel
from threadkeeper.web.assistants.fields import FOR_WHOM, access_of, for_whom, sentences
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Offered, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

NOBODY = "nobody"
_LONGEST_USERS = 100_000
_OK = 200
_MOST_LISTED = 2_000
"""Of the models of a server, so that a browser can show the page."""
_TODO = {
    **dict.fromkeys(("over_limit", "in_flight"), "limit"),
    **dict.fromkeys(("thought_only", "thought_limit"), "thought"),
    **{
        kind: kind
        for kind in (
            *("auth", "quota", "rate_limit", "not_found", "wrong_address", "unreachable", "timeout", "server"),
            *("refused", "unpriced", "limit_unchecked"),
        )
    },
}
"""The name of the message that says what to do, by the kind of a failure (`threadkeeper.chat.model.ErrorKind`)."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A model as the page shows it. `for_whom` is one of FOR_WHOM, or NOBODY; `is_of_page`: an admin decided that.

    `in_setting`: the setting has it. `is_listed`: the server of the chat lists it; None if that is not known.
    """

    name: str
    for_whom: str
    users: tuple[str, ...]
    is_of_page: bool
    in_setting: bool
    is_default: bool
    is_listed: bool | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the setting says, and what admins decided."""

    base: tuple[str, ...]
    rows: Sequence[ChatModel]
    choice: Choice

    def about(self, name: str) -> tuple[str, tuple[str, ...], bool]:
        """For whom a model is, as the form names it, the named users, and whether an admin decided that."""
        row = next((one for one in self.rows if one.name == name), None)
        if row is None or row.is_offered is None:
            return "everyone" if name in self.base else NOBODY, (), False
        return for_whom(row.access) if row.is_offered else NOBODY, row.access.users, True

    def lines(self, listed: frozenset[str] | None) -> Iterator[Line]:
        """The models of the setting, and those about which admins decided. `listed` is what the server lists."""
        decided_on = sorted(one.name for one in self.rows if one.is_offered is not None)
        for name in dict.fromkeys([*self.base, *decided_on]):
            is_listed = None if listed is None else name in listed
            yield Line(name, *self.about(name), name in self.base, name == self.choice.default, is_listed)


@router.get("/admin/models")
async def list_models(
    *,
    request: Request,
    person: Admin,
    layer: Layer,
    pages: Pages,
    zone: Zone,
    lists: Lists,
    trial: Trial,
    offered: Offered,
) -> Response:
    servers = await lists() if lists is not None else []
    found = await _decisions(layer, offered)
    lines = list(found.lines(_listed(servers)))
    values = {
        "servers": servers,
        "is_demo": offered.is_demo,
        "lines": lines,
        "in_picker": {one.name for one in lines if one.for_whom != NOBODY},
        "is_default_of_page": found.choice.is_default_of_page,
        "unpriced": await _without_price(trial, [one.name for one in lines]),
        "most_characters": LONGEST_MODEL_NAME,
        "most_listed": _MOST_LISTED,
        "saved": "saved" in request.query_params,
    }
    return pages.page(request, "admin/models.html", values, person=person, zone=zone)


@router.get("/admin/models/edit")
async def edit_model(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, offered: Offered, model: str = ""
) -> Response:
    if not model:
        return redirect_to("/admin/models")
    name = _named(model)
    found = await _decisions(layer, offered)
    chosen, users, is_of_page = found.about(name)
    # Who opens the form of a model that was never offered wants to offer it.
    shown = "everyone" if chosen == NOBODY and not is_of_page else chosen
    values = Filled({"access": shown, "users": "\n".join(users)}, {})
    return _form((request, person, pages, zone), found, name, values)


@router.post("/admin/models/edit")
async def put_model(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, offered: Offered
) -> Response:
    name, say = _named(form.one("model")), speaker(request)
    found = await _decisions(layer, offered)
    values = {"access": form.one("access"), "users": form.one("users", longest=_LONGEST_USERS)}
    if values["access"] not in (*FOR_WHOM, NOBODY):
        raise InvalidInput("bad_choice", value=values["access"][:60])
    problems = {}
    if name == found.choice.default and values["access"] != "everyone":
        problems["access"] = say("models_is_default", model=name)
    elif values["access"] == "users" and not values["users"].strip():
        problems["users"] = say("assistant_bad_nobody")
    else:
        access = None if values["access"] == NOBODY else access_of(values)
        try:
            with acting_as(SYSTEM):
                await layer.put_chat_model(name, access, by=person.identifier)
        except InvalidAssistant as error:
            problems = sentences(error.problems, say)
    if problems:
        return _form((request, person, pages, zone), found, name, Filled(values, problems), status=400)
    return _back(offered)


@router.post("/admin/models/reset")
async def reset_model(person: Admin, form: Form, layer: Layer, offered: Offered) -> Response:
    name = _named(form.one("model"))
    found = await _decisions(layer, offered)
    if name == found.choice.default and name not in found.base:
        raise InvalidInput("models_is_default", model=name)
    with acting_as(SYSTEM):
        await layer.reset_chat_model(name, by=person.identifier)
    return _back(offered)


@router.post("/admin/models/default")
async def put_default(person: Admin, form: Form, layer: Layer, offered: Offered) -> Response:
    name = _named(form.one("model"))
    found = await _decisions(layer, offered)
    if found.about(name)[0] != "everyone":
        raise InvalidInput("models_default_for_everyone", model=name)
    with acting_as(SYSTEM):
        await layer.put_default_chat_model(name, by=person.identifier)
    return _back(offered)


@router.post("/admin/models/default/reset")
async def reset_default(person: Admin, _form: Form, layer: Layer, offered: Offered) -> Response:
    with acting_as(SYSTEM):
        await layer.put_default_chat_model(None, by=person.identifier)
    return _back(offered)


@router.post("/admin/models/try")
async def try_model(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, trial: Trial
) -> Response:
    if trial is None:
        raise HTTPException(404)
    model = _named(form.one("model"))
    with acting_as(SYSTEM):
        await layer.note_admin_act("try_model", person.identifier, model=model)
    tried = await trial(model, user_id=person.id, language=speaker(request).language)
    values: dict[str, Any] = {
        "tried": tried,
        "todo": _todo(tried.problem or "", tried.call),
        "is_unpriced": model in await _without_price(trial, [model]),
    }
    return pages.page(request, "admin/model_tried.html", values, person=person, zone=zone)


async def _decisions(layer: ChainlitLayer, offered: OfferedModels) -> Decisions:
    with acting_as(SYSTEM):
        rows = [] if offered.is_demo else await layer.list_chat_models()
    return Decisions(offered.base, rows, decided(offered.base, rows))


def _form(
    shown: tuple[Request, Person, PageWriter, Any], found: Decisions, name: str, form: Filled, status: int = 200
) -> Response:
    request, person, pages, zone = shown
    values = {
        "model": name,
        "form": form,
        "for_whom": (*FOR_WHOM, NOBODY),
        "is_of_page": found.about(name)[2],
        "in_setting": name in found.base,
        "is_default": name == found.choice.default,
    }
    return pages.page(request, "admin/model.html", values, person=person, zone=zone, status=status)


def _back(offered: OfferedModels) -> Response:
    offered.forget()
    return redirect_to("/admin/models?saved=1")


def _listed(servers: Sequence[ServerList]) -> frozenset[str] | None:
    """What the server of the chat lists; None if it is not known: it failed, or lists no deployments."""
    lists = [one for one in servers if one.use == "chat" and one.problem is None and not one.has_deployments]
    return frozenset(lists[0].models) if lists else None


async def _without_price(trial: TryModel | None, models: Sequence[str]) -> frozenset[str]:
    with acting_as(SYSTEM):
        return await trial.without_price(models) if trial is not None else frozenset()


def _todo(problem: str, call: LlmCall | None) -> str:
    """The name of the message that says what to do."""
    if problem == "server" and call is not None and call.status_code == _OK:
        # Such as the page of a proxy, or of a server whose address lacks /v1.
        return "no_chat"
    return _TODO.get(problem, "other")


def _named(text: str) -> str:
    """The name of a model in a form.

    Raises:
        InvalidInput: there is none, or it is too long.
    """
    name = clean_text(text).strip()
    if not 0 < len(name) <= LONGEST_MODEL_NAME or not name.isprintable():
        raise InvalidInput("models_bad_name", most=LONGEST_MODEL_NAME)
    return name
