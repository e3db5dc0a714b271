"""The routes of the API, in the order in which they are matched."""

from fastapi import APIRouter

from threadkeeper.web.api import (
    account,
    again,
    assistants,
    audit,
    elements,
    exports,
    imports,
    interactions,
    jobs,
    keys,
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
    trials,
    usage,
    users,
    versions,
)
from threadkeeper.web.api.documentation import documentation_router


def api_router() -> APIRouter:
    """The routes.

    They need in `request.state`:
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
        try_assistant: asks an assistant whose settings are not saved.
        public_url: the address of the chat behind a proxy; None takes the one of the request.
        accounts: checks and hashes passwords.
    """
    router = APIRouter()
    parts = (
        *(
            threads.router,
            messages.router,
            prompts.router,
            again.router,
            versions.router,
            jobs.router,
            elements.router,
            elements.uploads,
            interactions.router,
        ),
        *(usage.router, limits.router, transactions.router, projects.router),
        *(assistants.router, sources.files, sources.router, trainings.router, trials.router),
        *(reviews.router, review_work.router, users.router, account.router, keys.router),
        *(audit.router, exports.router, imports.uploads, imports.router),
    )
    for part in parts:
        router.include_router(part)
    router.include_router(documentation_router([route for part in parts for route in part.routes]))
    return router
