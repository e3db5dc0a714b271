"""The first steps of a new operator at `/admin/start`, each ticked when the data says that it is done."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.records.installation import FirstSteps
from threadkeeper.web.auth.roles import Admin, LoggedIn, is_admin
from threadkeeper.web.pages.dependencies import Layer, Offered, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.zone import Zone

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _has_model(offered: Offered) -> bool:
    return not offered.is_demo


HasModel = Annotated[bool, Depends(_has_model)]
"""Whether a model is configured; otherwise the demo answers."""


@router.get("/admin")
async def read_admin(person: LoggedIn, layer: Layer, has_model: HasModel) -> Response:
    """Go to the first steps until they are done or hidden, and then to the people. Others go to the chat: the first
    visitor of a new installation is sent here through the login, and need not be its admin."""
    if not is_admin(person):
        return redirect_to("/")
    with acting_as(SYSTEM):
        steps = await layer.first_steps()
    is_over = "hidden_at" in steps.shown or all(done for _, done in _steps(steps, has_model))
    return redirect_to("/admin/people" if is_over else "/admin/start")


@router.get("/admin/start")
async def read_first_steps(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, has_model: HasModel
) -> Response:
    with acting_as(SYSTEM):
        steps = await layer.first_steps()
        if "begun_at" in steps.shown and "seen_at" not in steps.shown:
            await layer.note_first_steps("seen")
    found = _steps(steps, has_model)
    values = {
        "steps": found,
        "done": sum(done for _, done in found),
        "backup": steps.backup,
        "has_model": has_model,
        "is_hidden": "hidden_at" in steps.shown,
    }
    return pages.page(request, "admin/start.html", values, person=person, zone=zone)


@router.post("/admin/start/hide")
async def hide_first_steps(_person: Admin, _form: Form, layer: Layer) -> Response:
    with acting_as(SYSTEM):
        await layer.note_first_steps("hidden")
    return redirect_to("/admin/people")


@router.post("/admin/start/show")
async def show_first_steps(_person: Admin, _form: Form, layer: Layer) -> Response:
    with acting_as(SYSTEM):
        await layer.note_first_steps("shown")
    return redirect_to("/admin/start")


def _steps(steps: FirstSteps, has_model: bool) -> tuple[tuple[str, bool], ...]:
    """The steps in their order, and whether each is done."""
    return (
        ("model", has_model and steps.has_answer),
        ("people", steps.has_people),
        ("limit", steps.has_limit),
        ("assistant", steps.has_assistant),
        ("backup", steps.backup is not None),
    )
