"""The page at `/assistants/<slug>/knowledge`: the data sources of an assistant, their state, and uploads."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Response

from datalayer import SYSTEM, acting_as
from datalayer.records.knowledge import FETCHED_KINDS, RUNNING
from threadkeeper.knowledge import acts
from threadkeeper.knowledge.loading import LoadRefused
from threadkeeper.knowledge.source_acts import NewSource, SourceChange, put_source
from threadkeeper.knowledge.wording import say_failure, say_taken
from threadkeeper.web.assistants.knowledge import addresses, columns, pairs, sources, trainings
from threadkeeper.web.assistants.knowledge.desk import AssistantDesk, Desk, title_of
from threadkeeper.web.assistants.knowledge.files import MOST_FILES, UPLOADED_KINDS, FilesForm, most_megabytes
from threadkeeper.web.assistants.knowledge.states import in_words, source_row, states_of
from threadkeeper.web.assistants.knowledge.trainings import SOURCES_A_PAGE
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.filled import EMPTY, Filled
from threadkeeper.web.pages.forms import page_of_form, redirect_to

TRAININGS_SHOWN = 10
_LONGEST_PART = 200

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an uploaded file: "added", "replaced", "unchanged" or "refused", and sentences about it."""

    name: str
    done: str
    said: Sequence[str] = ()


@router.get("/assistants/{slug}/knowledge")
async def read_knowledge(desk: Desk) -> Response:
    return await _overview(desk)


@router.post("/assistants/{slug}/knowledge/files", dependencies=[page_of_form("/assistants/{slug}/knowledge")])
async def add_files(form: FilesForm, desk: Desk) -> Response:
    kind = form.fields.one("kind")
    if kind not in UPLOADED_KINDS:
        raise InvalidInput("knowledge_bad_kind")
    if not form.files:
        raise InvalidField("files", "knowledge_no_file")
    outcomes, last = [], None
    for file in form.files:
        name = title_of(file.filename or "")
        try:
            if (file.size or 0) > desk.limits.megabytes * 1024 * 1024:
                raise LoadRefused("too_large")
            new = NewSource(kind, name, await file.read())  # type: ignore[arg-type]
            last = await put_source(desk.layer, desk.slug, new, desk.limits, trains=False)
            outcomes.append(_outcome(desk, last))
        except LoadRefused as refused:
            outcomes.append(Outcome(name, "refused", [desk.refused(refused, name)]))
    if any(one.done in ("added", "replaced") for one in outcomes):
        await acts.train_after_change(desk.layer, desk.slug, desk.person.id)
    if any(one.said for one in outcomes):
        is_bad = any(one.done == "refused" for one in outcomes)
        return await _overview(
            desk, outcomes, status=400 if is_bad else 200, form=Filled({"kind": kind}), page_address=desk.here
        )
    if kind == "datasheet" and len(outcomes) == 1 and last is not None:
        return redirect_to(f"{desk.here}/sources/{last.source.id}/columns")
    return redirect_to(f"{desk.here}?stored={len(outcomes)}#sources")


def _outcome(desk: AssistantDesk, change: SourceChange) -> Outcome:
    title = change.source.title
    said = say_taken(change.taken, title, desk.say.language) if change.taken is not None else []
    return Outcome(title, change.done, said)


async def _overview(
    desk: AssistantDesk,
    outcomes: Sequence[Outcome] = (),
    *,
    status: int = 200,
    form: Filled = EMPTY,
    page_address: str = "",
) -> Response:
    layer, slug, asked = desk.layer, desk.slug, desk.request.query_params
    title, after = asked.get("title", "").strip()[:_LONGEST_PART], asked.get("after")
    listed = await acts.list_trainings(layer, slug, TRAININGS_SHOWN)
    with acting_as(SYSTEM):
        page = await layer.page_of_sources(slug, title=title, cursor=after, limit=SOURCES_A_PAGE)
        current = await layer.current_training(slug)
    state = (await states_of(layer, [slug]))[slug]
    values = {
        "state": state,
        "said": in_words(state, desk.say),
        "rows": [source_row(one, desk.limits, desk.say.language) for one in page.sources],
        "next_cursor": page.next_cursor,
        "after": after,
        "part": title,
        "sources_a_page": SOURCES_A_PAGE,
        "trainings": listed,
        "failed": say_failure(listed[0], desk.say.language) if listed and listed[0].state == "failed" else "",
        "running": next((one for one in listed if one.state in RUNNING), None),
        "names": await desk.names(listed),
        "form": form,
        "outcomes": outcomes,
        "stored": asked.get("stored", "") if not outcomes else "",
        "kinds": UPLOADED_KINDS,
        "address_kinds": FETCHED_KINDS,
        "origins": desk.places.origins,
        "suggestions": (current.suggestions or ()) if current else (),
        "most_files": MOST_FILES,
        "megabytes": f"{desk.limits.megabytes:g}",
        "together": f"{most_megabytes(desk.limits):g}",
    }
    return desk.page("overview.html", values, status, page_address)


for part in (sources, addresses, pairs, columns, trainings):
    router.include_router(part.router)
