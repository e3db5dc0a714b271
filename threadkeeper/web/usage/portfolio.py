"""What each project has cost: the same numbers for the page and the API."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from datalayer.billing.billing import DEFAULT_PROJECT
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, Project, UsageTotals
from datalayer.usage.usage import MOST_GROUPS
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import reading_usage, sees_all_usage


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The totals of each project, which is None for calls of a deleted one or one that the person may not see; and of
    all together."""

    totals: UsageTotals
    rows: Sequence[tuple[Project | None, UsageTotals]]


async def visible_projects(layer: ChainlitLayer, person: Person) -> list[Project]:
    """The projects that the person may use, as at the gateway: that of the chat and one's own, for admins all."""
    projects = await layer.list_projects()
    if sees_all_usage(person):
        return projects
    return [one for one in projects if one.slug == DEFAULT_PROJECT or one.owner == person.identifier]


async def portfolio(
    layer: ChainlitLayer,
    which: CallFilter,
    person: Person,
    *,
    slugs: Collection[str] = (),
    ids: Collection[str] = (),
) -> Portfolio:
    """The projects with the highest cost first, then those without a call.

    Args:
        layer: reads the calls.
        which: the calls that count.
        person: sees the own calls, an admin all.
        slugs: of the projects without a call that are listed; all by default.
        ids: of the projects without a call that are listed; all by default.
    """
    with reading_usage(person):
        page = await layer.page_of_usage(which, "project", limit=MOST_GROUPS)
        groups = [*page.groups]
        while page.next_cursor is not None:
            page = await layer.page_of_usage(which, "project", limit=MOST_GROUPS, cursor=page.next_cursor)
            groups += page.groups
        totals = await layer.usage_totals(which)
    visible = {one.id: one for one in await visible_projects(layer, person)}
    rows: list[tuple[Project | None, UsageTotals]] = [(visible.get(one.value or ""), one.totals) for one in groups]
    called = {one.value for one in groups}
    rows += [
        (one, UsageTotals())
        for one in visible.values()
        if one.id not in called and (not slugs or one.slug in slugs) and (not ids or one.id in ids)
    ]
    return Portfolio(totals, rows)
