"""Projects and their providers at `/admin/money/projects`: make, change and delete them.

A secret is the name of an environment variable, never the key. Each act leaves a row in the audit.
"""

import hashlib
import hmac
import os
import uuid
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, AlreadyExists, NotFound, RecordChanged, acting_as
from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.billing.cleaning import is_address, is_secret_name, is_slug
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, clean_time, utc_now
from datalayer.periods import period_around
from datalayer.records.usage import CallFilter, DeletedProject, Project, Provider
from threadkeeper.settings.own_variables import is_own_variable
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, PageRoute
from threadkeeper.web.pages.fields import Fields
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, Posted, page_of_form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.usage.portfolio import portfolio

MOST_PROVIDERS = 30
_TEXTS = ("slug", "name", "description", "owner", "organisation", "tags")
_OF_PROVIDER = tuple(field.name for field in fields_of(Provider))
_LONGEST = 1_000
_NEW = Project("", "", "")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/admin/money/projects")
async def list_projects(*, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    return await _list(request, layer, pages, person=person, zone=zone)


@router.get("/admin/money/new-project")
async def new_project(*, request: Request, person: Admin, pages: Pages, zone: Zone) -> Response:
    return _form(request, pages, _NEW, Filled(_values_of(_NEW)), person=person, zone=zone)


@router.post("/admin/money/projects")
async def make_project(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone
) -> Response:
    fields, project = _read(form, request, replace(_NEW, id=str(uuid.uuid4())))
    if not fields.problems and await _stored(layer, project, fields, person=person):
        return redirect_to(f"/admin/money/projects/{project.slug}?saved=1")
    return _form(request, pages, _NEW, fields.filled, person=person, zone=zone, status=400)


@router.get("/admin/money/projects/{slug}")
async def read_project(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, slug: str
) -> Response:
    project = await _project(layer, slug)
    return _form(request, pages, project, Filled(_values_of(project)), person=person, zone=zone)


@router.post("/admin/money/projects/{slug}")
async def change_project(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, slug: str
) -> Response:
    before = await _project(layer, slug)
    fields, project = _read(form, request, before)
    version = form.one("version", longest=100)
    if not fields.problems and await _stored(layer, project, fields, person=person, version=version):
        return redirect_to(f"/admin/money/projects/{before.slug}?saved=1")
    return _form(request, pages, before, fields.filled, person=person, zone=zone, status=400)


@router.post("/admin/money/projects/{slug}/delete", dependencies=[page_of_form("/admin/money/projects/{slug}")])
async def delete_project(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, slug: str
) -> Response:
    project = await _project(layer, slug)
    if project.slug == DEFAULT_PROJECT:
        raise HTTPException(404)
    typed = form.one("confirm", longest=_LONGEST).strip()
    if not hmac.compare_digest(typed.encode(), project.slug.encode()):
        raise InvalidField("confirm", "admin_delete_wrong", name=project.slug)
    with acting_as(SYSTEM):
        deleted = await layer.delete_project(project.slug, by=person.identifier)
    return await _list(request, layer, pages, person=person, zone=zone, deleted=deleted)


async def _list(
    request: Request,
    layer: ChainlitLayer,
    pages: PageWriter,
    *,
    person: Person,
    zone: Any,
    deleted: DeletedProject | None = None,
) -> Response:
    with acting_as(SYSTEM):
        await layer.default_project()
    begin, _ = period_around(utc_now(), "month", zone.key)
    found = await portfolio(layer, CallFilter(since=clean_time(begin, "begin")), person)
    values = {"rows": [row for row in found.rows if row[0] is not None], "deleted": deleted}
    return pages.page(request, "admin/projects.html", values, person=person, zone=zone)


def _form(
    request: Request,
    pages: PageWriter,
    project: Project,
    form: Filled,
    *,
    person: Person,
    zone: Any,
    status: int = 200,
) -> Response:
    stored = {one.slug: one for one in project.providers}
    values = {
        "project": project,
        "is_new": not project.slug,
        "form": form,
        "places": range(min(len(project.providers) + 1, MOST_PROVIDERS)),
        "version": _version(project),
        "is_set": {one.secret: one.secret in os.environ for one in stored.values() if one.secret},
        "is_default": project.slug == DEFAULT_PROJECT,
        "saved": "saved" in request.query_params,
    }
    return pages.page(request, "admin/project.html", values, person=person, zone=zone, status=status)


def _read(form: Posted, request: Request, before: Project) -> tuple[Fields, Project]:
    """The project of a form. The problems of the fields say what is not valid."""
    say = speaker(request)
    places = range(min(len(before.providers) + 1, MOST_PROVIDERS))
    names = [*_TEXTS, *(f"{name}-{at}" for at in places for name in _OF_PROVIDER)]
    fields = Fields(form, say, names, longest=_LONGEST)
    values = fields.values
    if before.slug:
        values["slug"] = before.slug
    elif fields.text("slug") and not is_slug(values["slug"]):
        fields.refuse("slug", say("money_bad_slug"))
    providers: list[Provider] = []
    for at in places:
        # A provider without a short name is none: the form has an empty one, and an emptied one is removed.
        if not values[f"slug-{at}"]:
            if any(values[f"{name}-{at}"] for name in ("name", "base_url", "secret")) and at >= len(before.providers):
                fields.text(f"slug-{at}")
            continue
        providers.append(_provider(fields, at, providers))
    tags = (clean_text(tag.strip()) for tag in values["tags"].split(","))
    project = replace(
        before,
        slug=values["slug"],
        name=fields.text("name"),
        description=values["description"] or None,
        owner=values["owner"] or None,
        organisation=values["organisation"] or None,
        tags=tuple(tag for tag in tags if tag),
        providers=tuple(providers),
    )
    return fields, project


def _provider(fields: Fields, at: int, others: list[Provider]) -> Provider:
    given: Mapping[str, str] = {name: fields.values[f"{name}-{at}"] for name in _OF_PROVIDER}
    if not is_slug(given["slug"]):
        fields.refuse(f"slug-{at}", fields.say("money_bad_slug"))
    elif given["slug"] in [one.slug for one in others]:
        fields.refuse(f"slug-{at}", fields.say("money_slug_taken"))
    if given["secret"] and not is_secret_name(given["secret"]):
        fields.refuse(f"secret-{at}", fields.say("money_bad_secret"))
        # It may be the key itself.
        fields.values[f"secret-{at}"] = ""
    elif is_own_variable(given["secret"]):
        fields.refuse(f"secret-{at}", fields.say("money_own_secret"))
    if given["base_url"] and not is_address(given["base_url"]):
        fields.refuse(f"base_url-{at}", fields.say("money_bad_address"))
    return Provider(
        name=given["name"] or given["slug"],
        slug=given["slug"],
        base_url=given["base_url"] or None,
        deployment=given["deployment"] or None,
        description=given["description"] or None,
        secret=given["secret"] or None,
        passes_key=bool(given["passes_key"]),
    )


async def _stored(
    layer: ChainlitLayer, project: Project, fields: Fields, *, person: Person, version: str | None = None
) -> bool:
    """Store the project; False with a sentence at a field if the owner does not exist, or the project has changed.

    Without the version of a stored project, it is a new one, whose slug must be free.
    """

    def is_unchanged(stored: Project) -> bool:
        return _version(stored) == version

    try:
        with acting_as(SYSTEM):
            if version is None:
                await layer.put_project(project, by=person.identifier, is_new=True)
            else:
                await layer.put_project(project, by=person.identifier, only_if=is_unchanged)
    except AlreadyExists:
        fields.refuse("slug", fields.say("money_slug_taken"))
    except RecordChanged:
        fields.refuse("name", fields.say("money_project_changed"))
    except NotFound:
        fields.refuse("owner", fields.say("money_no_user"))
    return not fields.problems


def _values_of(project: Project) -> dict[str, str]:
    values = {name: str(getattr(project, name) or "") for name in _TEXTS}
    values["tags"] = ", ".join(project.tags)
    for at in range(min(len(project.providers) + 1, MOST_PROVIDERS)):
        one = project.providers[at] if at < len(project.providers) else Provider("", "")
        values |= {f"{name}-{at}": str(getattr(one, name) or "") for name in _OF_PROVIDER}
        values[f"passes_key-{at}"] = "1" if one.passes_key else ""
    return values


def _version(project: Project) -> str:
    """Differs between two states of a project."""
    return hashlib.sha256(repr(replace(project, id="", created_at=None)).encode()).hexdigest()[:32]


async def _project(layer: ChainlitLayer, slug: str) -> Project:
    found = next((one for one in await layer.list_projects() if one.slug == slug), None)
    if found is None:
        raise HTTPException(404)
    return found
