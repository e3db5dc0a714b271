"""The models at `/admin/models`: what the configured servers offer now, and a trial of each model."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.cleaning import clean_text
from threadkeeper.web.admin.asking import Lists, Trial, TryModel
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, Posted
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.zone import Zone

LONGEST_NAME = 200
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


@router.get("/admin/models")
async def list_models(
    *, request: Request, person: Admin, pages: Pages, zone: Zone, lists: Lists, trial: Trial
) -> Response:
    servers = await lists() if lists is not None else []
    offered = list(request.state.assistant_models)
    values = {
        "servers": servers,
        "offered": offered,
        "unpriced": await _without_price(trial, offered),
        "most_characters": LONGEST_NAME,
    }
    return pages.page(request, "admin/models.html", values, person=person, zone=zone)


@router.post("/admin/models/try")
async def try_model(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, trial: Trial
) -> Response:
    if trial is None:
        raise HTTPException(404)
    model = named_model(form)
    with acting_as(SYSTEM):
        await layer.note_admin_act("try_model", person.identifier, model=model)
    tried = await trial(model, user_id=person.id, language=speaker(request).language)
    values: dict[str, Any] = {
        "tried": tried,
        "todo": _TODO.get(tried.problem or "", "other"),
        "is_unpriced": model in await _without_price(trial, [model]),
    }
    return pages.page(request, "admin/model_tried.html", values, person=person, zone=zone)


async def _without_price(trial: TryModel | None, models: Sequence[str]) -> frozenset[str]:
    with acting_as(SYSTEM):
        return await trial.without_price(models) if trial is not None else frozenset()


def named_model(form: Posted) -> str:
    """The name of a model in a form.

    Raises:
        InvalidInput: there is none, or it is too long.
    """
    name = clean_text(form.one("model")).strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput("models_bad_name", most=LONGEST_NAME)
    return name
