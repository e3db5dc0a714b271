"""Projects with their providers, what was spent on each, and the settings of the server."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import AlreadyExists, InvalidRecord, NotFound
from datalayer.records.usage import DeletedProject, Project, Provider
from threadkeeper.settings.own_variables import is_own_variable
from threadkeeper.web.api.access import AdminCaller, Caller, ProjectDeleter, UsageReader
from threadkeeper.web.api.calls_query import Calls, demand_own_filters
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, IfMatch, Limit, demand_match, etag, matching, page_of
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import Strict, Tag
from threadkeeper.web.api.usage_shapes import Totals, totals_of
from threadkeeper.web.auth.roles import sees_all_usage
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.usage.portfolio import portfolio, visible_projects

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Slug = Annotated[str, Field(min_length=1, max_length=100, description="Lower-case letters, digits and hyphens.")]
Text = Annotated[str, Field(max_length=1_000)]


class GivenProvider(Strict):
    """A provider. `secret` names the environment variable with its key, and is never the key."""

    slug: Slug
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    base_url: Text | None = None
    deployment: Text | None = None
    description: Text | None = None
    secret: Annotated[str, Field(max_length=200)] | None = None
    passes_key: bool = False


class ChangedProject(Strict):
    """Fields that are left out stay. `providers` replaces all of them."""

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Text | None = None
    tags: Annotated[list[Tag], Field(max_length=100)] | None = None
    owner: Annotated[str, Field(max_length=255)] | None = Field(None, description="The identifier of a user.")
    organisation: Annotated[str, Field(max_length=200)] | None = None
    providers: Annotated[list[GivenProvider], Field(max_length=100)] | None = None


class NewProject(ChangedProject):
    slug: Slug


class ShownProvider(BaseModel):
    slug: str
    name: str
    base_url: str | None
    deployment: str | None
    description: str | None
    secret: str | None = Field(description="The name of an environment variable; for admins.")
    passes_key: bool


class ShownProject(BaseModel):
    id: str
    slug: str
    name: str
    description: str | None
    tags: list[str]
    owner: str | None
    organisation: str | None
    providers: list[ShownProvider]
    created_at: str | None


class ProjectPage(BaseModel):
    data: list[ShownProject]
    next_cursor: str | None


class PortfolioRow(BaseModel):
    """The calls of a project; the project is null for those of a deleted one."""

    project: ShownProject | None
    totals: Totals


class Portfolio(BaseModel):
    since: str
    until: str
    totals: Totals
    projects: list[PortfolioRow]


class Setting(BaseModel):
    """A setting of the server; secrets are masked."""

    variable: str
    value: str
    origin: str
    description: str


class SettingList(BaseModel):
    data: list[Setting]


@router.get("/projects")
async def list_projects(caller: UsageReader, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> ProjectPage:
    """The project of the chat and one's own, for admins all; by slug."""
    page, following = page_of(await visible_projects(layer, caller.person), lambda one: one.slug, cursor, limit)
    return ProjectPage(data=[_shown(one, caller) for one in page], next_cursor=following)


@router.post("/projects", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def create_project(
    request: Request, caller: AdminCaller, layer: Layer, given: NewProject, response: Response
) -> ShownProject:
    """Make a project."""
    made = await _put(layer, Project(str(uuid.uuid4()), given.slug, given.slug), given, caller, is_new=True)
    note_done(request)
    response.headers["Location"] = location_of(f"/projects/{made.slug}")
    response.headers["ETag"] = _etag(made)
    return _shown(made, caller)


@router.get("/projects/{slug}")
async def read_project(caller: UsageReader, layer: Layer, slug: str, response: Response) -> ShownProject:
    """A project with its providers."""
    found = await _of(layer, caller, slug)
    response.headers["ETag"] = _etag(found)
    return _shown(found, caller)


@router.patch("/projects/{slug}")
async def change_project(
    *,
    caller: AdminCaller,
    layer: Layer,
    slug: str,
    given: ChangedProject,
    response: Response,
    if_match: IfMatch = None,
) -> ShownProject:
    """Change a project. With `If-Match`, only if nobody changed it meanwhile."""
    found = await _of(layer, caller, slug)
    demand_match(if_match, _etag(found))
    changed = await _put(layer, found, given, caller, matching(if_match, _etag))
    response.headers["ETag"] = _etag(changed)
    return _shown(changed, caller)


@router.delete("/projects/{slug}")
async def delete_project(caller: ProjectDeleter, layer: Layer, slug: str, if_match: IfMatch = None) -> DeletedProject:
    """Delete a project with its providers and limits, and revoke its keys. Its owner and admins may.

    Its calls stay in the books, without a project.
    """
    found = await _of(layer, caller, slug)
    demand_match(if_match, _etag(found))
    try:
        return await layer.delete_project(found.slug, only_if=matching(if_match, _etag))
    except InvalidRecord as error:
        raise invalid("path.slug", str(error)) from None


@router.get("/portfolio")
async def read_portfolio(caller: UsageReader, layer: Layer, query: Calls) -> Portfolio:
    """Calls, tokens and cost of each project and of all together, by default of the last 30 days."""
    demand_own_filters(query, sees_all=sees_all_usage(caller.person))
    which = query.of_period()
    found = await portfolio(layer, which, caller.person, slugs=which.project_slugs)
    return Portfolio(
        since=which.since or "",
        until=which.until or "",
        totals=totals_of(found.totals),
        projects=[
            PortfolioRow(project=_shown(project, caller) if project else None, totals=totals_of(totals))
            for project, totals in found.rows
        ],
    )


@router.get("/settings")
async def list_settings(request: Request, _caller: AdminCaller) -> SettingList:
    """The settings of the server, as `threadkeeper check` shows them."""
    shown: Callable[[], Sequence[dict[str, str]]] = request.state.shown_settings
    return SettingList(data=[Setting(**one) for one in shown()])


async def _of(layer: ChainlitLayer, caller: Caller, slug: str) -> Project:
    found = next((one for one in await visible_projects(layer, caller.person) if one.slug == slug), None)
    if found is None:
        raise not_found("project")
    return found


async def _put(
    layer: ChainlitLayer,
    project: Project,
    given: ChangedProject,
    caller: Caller,
    only_if: Callable[[Project], bool] | None = None,
    *,
    is_new: bool = False,
) -> Project:
    changes: dict[str, Any] = given.model_dump(exclude_unset=True, exclude={"slug", "tags", "providers", "name"})
    if given.name is not None:
        changes["name"] = given.name
    if given.tags is not None:
        changes["tags"] = tuple(given.tags)
    if given.providers is not None:
        for at, one in enumerate(given.providers):
            if one.secret is not None and is_own_variable(one.secret):
                raise invalid(f"body.providers.{at}.secret", "this variable belongs to the server: use one of its own")
        changes["providers"] = tuple(
            Provider(**one.model_dump() | {"name": one.name or one.slug}) for one in given.providers
        )
    with acting_as(SYSTEM):
        try:
            return await layer.put_project(
                replace(project, **changes), by=caller.identifier, is_new=is_new, only_if=only_if
            )
        except AlreadyExists:
            sentence = "There is a project of this slug."
            raise Problem(409, "exists", sentence, [("body.slug", "it is in use")]) from None
        except NotFound:
            if given.owner is None:
                raise
            raise invalid("body.owner", "no user has this name") from None


def _shown(project: Project, caller: Caller) -> ShownProject:
    values = asdict(project)
    if not sees_all_usage(caller.person):
        values["providers"] = [one | {"secret": None} for one in values["providers"]]
    return ShownProject(**values | {"tags": list(project.tags)})


def _etag(project: Project) -> str:
    return etag(replace(project, id="", created_at=None))
