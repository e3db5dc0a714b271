"""The routes of the API, in the order in which they are matched."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.program_turns import AskThread
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.api import (
    account,
    again,
    assistants,
    elements,
    interactions,
    jobs,
    limits,
    messages,
    projects,
    prompts,
    review_work,
    reviews,
    sources,
    threads,
    trainings,
    transactions,
    usage,
    users,
)
from threadkeeper.web.api.documentation import documentation_router
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.pages.dependencies import share
from threadkeeper.web.pages.shell import PageWriter

ShownSettings = Callable[[], Sequence[dict[str, str]]]


def api_router(
    layer: ChainlitLayer,
    pages: PageWriter,
    key_gate: KeyGate,
    *,
    ask_thread: AskThread,
    review_policy: ReviewPolicy,
    knowledge_limits: LoadLimits,
    knowledge_places: Places,
    webhook_places: Places,
    shown_settings: ShownSettings = tuple,
    asked_reasons: Sequence[str] = (),
) -> APIRouter:
    """The routes.

    Args:
        layer: reads and writes all data.
        pages: writes the page of the documentation.
        key_gate: finds the keys of requests.
        ask_thread: asks questions.
        review_policy: the operator's settings for the review.
        knowledge_limits: of the files that assistants know.
        knowledge_places: from which data sources are fetched.
        webhook_places: to which webhooks are sent.
        shown_settings: gives the settings as `settings.report.shown_settings` does.
        asked_reasons: the reasons that a thumbs-down can have.
    """
    shared = share(
        layer=layer,
        pages=pages,
        key_gate=key_gate,
        ask_thread=ask_thread,
        review_policy=review_policy,
        knowledge_limits=knowledge_limits,
        knowledge_places=knowledge_places,
        webhook_places=webhook_places,
        shown_settings=shown_settings,
        asked_reasons=tuple(asked_reasons),
    )
    router = APIRouter(dependencies=[Depends(shared)])
    parts = (
        *(
            threads.router,
            messages.router,
            prompts.router,
            again.router,
            jobs.router,
            elements.router,
            elements.uploads,
            interactions.router,
        ),
        *(usage.router, limits.router, transactions.router, projects.router),
        *(assistants.router, sources.files, sources.router, trainings.router),
        *(reviews.router, review_work.router, users.router, account.router),
    )
    for part in parts:
        router.include_router(part)
    router.include_router(documentation_router([route for part in parts for route in part.routes]))
    return router
