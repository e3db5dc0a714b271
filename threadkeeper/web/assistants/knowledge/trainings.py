"""Trainings of an assistant: start, cancel, and the pages of one training and of one document."""

from fastapi import APIRouter, HTTPException, Response

from datalayer import SYSTEM, AlreadyExists, acting_as
from datalayer.cleaning import known_id
from datalayer.errors import NotFound
from datalayer.records.knowledge import RUNNING
from threadkeeper.knowledge import acts
from threadkeeper.knowledge.wording import say_failure
from threadkeeper.web.assistants.knowledge.desk import Desk, whole
from threadkeeper.web.assistants.knowledge.states import sentences
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to

DOCUMENTS_A_PAGE = 50
PASSAGES_A_PAGE = 20
SOURCES_A_PAGE = 50

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/assistants/{slug}/knowledge/trainings")
async def start_training(_form: Form, desk: Desk) -> Response:
    with acting_as(SYSTEM):
        has_sources = bool((await desk.layer.page_of_sources(desk.slug, limit=1)).sources)
    if not has_sources:
        raise InvalidInput("knowledge_no_sources")
    try:
        await acts.start_training(desk.layer, desk.slug, desk.person.id)
    except AlreadyExists:
        raise InvalidInput("knowledge_runs_already") from None
    return redirect_to(f"{desk.here}#training")


@router.post("/assistants/{slug}/knowledge/trainings/cancel")
async def cancel_training(_form: Form, desk: Desk) -> Response:
    try:
        await acts.cancel_training(desk.layer, desk.slug)
    except NotFound:
        raise InvalidInput("knowledge_none_runs") from None
    return redirect_to(f"{desk.here}#training")


@router.get("/assistants/{slug}/knowledge/trainings/{training_id}")
async def read_training(desk: Desk, training_id: str) -> Response:
    training, layer, asked = await desk.training(training_id), desk.layer, desk.request.query_params
    after, source_id, source_cursor = asked.get("after"), asked.get("source"), asked.get("sources")
    if any(given is not None and known_id(given) is None for given in (after, source_id)):
        raise HTTPException(404)
    with acting_as(SYSTEM):
        results = await layer.page_of_results(training.id, cursor=source_cursor, limit=SOURCES_A_PAGE)
        # What a training that has not succeeded took of its sources is part of no training.
        is_whole = training.state == "success"
        documents = await layer.list_documents(training.id, source_id, DOCUMENTS_A_PAGE + 1, after) if is_whole else []
        shown = documents[:DOCUMENTS_A_PAGE]
        wanted = {one.source_id for one in shown} | ({source_id} if source_id else set())
        titles = {key: one.title for key, (one, _) in (await layer.trained_sources(training.id, wanted)).items()}
    language = desk.say.language
    values = {
        "training": training,
        "is_running": training.state in RUNNING,
        "failed": say_failure(training, language),
        "names": await desk.names([training]),
        "results": [(one, sentences(one, desk.limits, language)) for one in results.results],
        "next_results": results.next_cursor,
        "are_first_results": source_cursor is None,
        "sources_a_page": SOURCES_A_PAGE,
        "documents": shown,
        "has_more": len(documents) > DOCUMENTS_A_PAGE,
        "after": after,
        "source_id": source_id,
        "titles": titles,
        "documents_a_page": DOCUMENTS_A_PAGE,
    }
    return desk.page("training.html", values)


@router.get("/assistants/{slug}/knowledge/trainings/{training_id}/documents/{document_id}")
async def read_document(desk: Desk, training_id: str, document_id: str) -> Response:
    training = await desk.training(training_id)
    first = whole(desk.request.query_params.get("from"))
    with acting_as(SYSTEM):
        document = await desk.layer.get_document(training, document_id)
        if document is None:
            raise HTTPException(404)
        passages = await desk.layer.list_passages(document.id, first, PASSAGES_A_PAGE)
    values = {
        "training": training,
        "document": document,
        "passages": passages,
        "first": first,
        "next": first + PASSAGES_A_PAGE if first + PASSAGES_A_PAGE < document.passages else None,
        "before": max(0, first - PASSAGES_A_PAGE) if first else None,
    }
    return desk.page("document.html", values)
