"""Trainings of an assistant: start one, see how far it is, cancel it; for those who may edit the assistant."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from datalayer import SYSTEM, AlreadyExists, NotFound, Training, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.knowledge import RUNNING
from threadkeeper.knowledge import acts
from threadkeeper.web.api.access import AssistantCaller
from threadkeeper.web.api.assistant_shapes import ShownTraining, TrainingPage, training_of
from threadkeeper.web.api.assistants import own_assistant
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit, page_of
from threadkeeper.web.api.problems import Problem, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.pages.dependencies import Layer

_MOST_LISTED = 1_000

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


@router.get("/assistants/{slug}/trainings")
async def list_trainings(
    _caller: AssistantCaller, layer: Layer, slug: str, cursor: Cursor = None, limit: Limit = 20
) -> TrainingPage:
    """The trainings of an assistant, newest first."""
    await own_assistant(layer, slug)
    found = await acts.list_trainings(layer, slug, _MOST_LISTED)
    page, following = page_of(found, lambda one: one.id, cursor, limit)
    return TrainingPage(data=await _shown(layer, page), next_cursor=following)


@router.post("/assistants/{slug}/trainings", status_code=202, dependencies=[once_with("assistants")])
async def start_training(
    request: Request, caller: AssistantCaller, layer: Layer, slug: str, response: Response
) -> ShownTraining:
    """Start a training in the background; read it to see how far it is."""
    await own_assistant(layer, slug)
    with acting_as(SYSTEM):
        has_sources = bool((await layer.page_of_sources(slug, limit=1)).sources)
    if not has_sources:
        raise Problem(409, "no-sources", "The assistant has no data source to train from.")
    try:
        training = await acts.start_training(layer, slug, caller.user_id)
    except AlreadyExists:
        raise Problem(409, "running", "A training of the assistant runs already.") from None
    note_done(request)
    response.headers["Location"] = location_of(f"/assistants/{slug}/trainings/{training.id}")
    (shown,) = await _shown(layer, [training])
    return shown


@router.get("/assistants/{slug}/trainings/{training_id}")
async def read_training(_caller: AssistantCaller, layer: Layer, slug: str, training_id: str) -> ShownTraining:
    """A training, with what it took so far."""
    await own_assistant(layer, slug)
    (shown,) = await _shown(layer, [await _training(layer, slug, training_id)])
    return shown


@router.post("/assistants/{slug}/trainings/{training_id}/cancel", dependencies=[once_with("assistants")])
async def cancel_training(
    request: Request, _caller: AssistantCaller, layer: Layer, slug: str, training_id: str
) -> ShownTraining:
    """Cancel a training that runs. The one before still answers."""
    await own_assistant(layer, slug)
    training = await _training(layer, slug, training_id)
    refusal = Problem(409, "not-running", "The training does not run any more.")
    if training.state not in RUNNING:
        raise refusal
    try:
        cancelled = await acts.cancel_training(layer, slug)
    except NotFound:
        raise refusal from None
    note_done(request)
    (shown,) = await _shown(layer, [cancelled])
    return shown


async def _training(layer: ChainlitLayer, slug: str, training_id: str) -> Training:
    with acting_as(SYSTEM):
        found = await layer.get_training(training_id)
    if found is None or found.assistant_id != slug:
        raise not_found("training")
    return found


async def _shown(layer: ChainlitLayer, trainings: Sequence[Training]) -> list[ShownTraining]:
    with acting_as(SYSTEM):
        names = await layer.names_of_users({one.started_by for one in trainings if one.started_by})
    return [training_of(one, names.get(one.started_by or "")) for one in trainings]
