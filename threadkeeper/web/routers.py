"""All our routes, in the order in which they are matched. `tests/web/test_roles.py` requests each of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastapi import APIRouter

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.login.accounts import Authenticator
from threadkeeper.offered_models import OfferedModels
from threadkeeper.pricing.history import ChatServer
from threadkeeper.program_turns import AskThread
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.admin.asking import ListModels, TryModel
from threadkeeper.web.api.on_demand import api_on_demand
from threadkeeper.web.assistants.trying import TryAssistant
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.files import files_router
from threadkeeper.web.first_start import FirstStart
from threadkeeper.web.health import health_router
from threadkeeper.web.on_demand import RoutesOnDemand
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages_on_demand import PagesOnDemand
from threadkeeper.web.system import System


def all_routers(
    layer: ChainlitLayer,
    *,
    ask_thread: AskThread | None = None,
    key_gate: KeyGate | None = None,
    metrics_token: str | None = None,
    redirect_seconds: int | None = None,
    theme: Path | None = None,
    time_zone: str = "UTC",
    review_policy: ReviewPolicy | None = None,
    assistant_owners: Mapping[str, tuple[str, ...]] | None = None,
    asked_reasons: Sequence[str] = (),
    offered_models: OfferedModels | None = None,
    try_assistant: TryAssistant | None = None,
    list_models: ListModels | None = None,
    try_model: TryModel | None = None,
    knowledge_limits: LoadLimits | None = None,
    knowledge_places: Places | None = None,
    webhook_places: Places | None = None,
    shown_settings: Callable[[], Sequence[dict[str, str]]] = tuple,
    accounts: Authenticator | None = None,
    public_url: str | None = None,
    system: System | None = None,
    chat_server: ChatServer | None = None,
) -> list[APIRouter | RoutesOnDemand]:
    """Our routers, for `mount`.

    Args:
        layer: reads and writes all data.
        ask_thread: asks the questions of programs; None offers no API.
        key_gate: finds the keys of programs; by default a new one.
        metrics_token: the bearer token for `/metrics`; None serves it to everyone.
        redirect_seconds: lifetime of signed links to the file store; None serves files through this server.
        theme: Chainlit's `public/theme.json`, for the colours of our pages.
        time_zone: where days begin for a reader whose browser sends no zone.
        review_policy: the operator's settings for the review.
        assistant_owners: the identifiers of each assistant's owners, by its name; owners see the number of its votes.
        asked_reasons: the reasons from which users choose after a thumbs-down.
        offered_models: the models on offer; None for the demo.
        try_assistant: asks an assistant whose settings are not saved yet; None offers no trial.
        list_models, try_model: ask the servers for their models, and one model a question, for the page of the models.
        knowledge_limits: of the files that assistants know.
        knowledge_places: from which data sources are fetched.
        webhook_places: to which webhooks of programs are sent.
        shown_settings: gives the settings, for admins, as `settings.report.shown_settings` does.
        accounts: checks and hashes passwords; by default a new one on the layer.
        public_url: the address of the chat behind a proxy; None takes the one of the request.
        system: what the page of the system shows of the settings.
        chat_server: of the chat, for the prices of its models.
    """
    pages = PageWriter(theme, time_zone=time_zone)
    shared: dict[str, object] = {
        "layer": layer,
        "pages": pages,
        "review_policy": review_policy or ReviewPolicy(),
        "knowledge_limits": knowledge_limits or LoadLimits(),
        "knowledge_places": knowledge_places or Places(),
        "try_assistant": try_assistant,
        "public_url": public_url,
        # One for both: wrong passwords slow each other down.
        "accounts": accounts or Authenticator(layer),
        "asked_reasons": tuple(asked_reasons),
    }
    of_pages = shared | {
        "assistant_owners": assistant_owners or {},
        "offered_models": offered_models or OfferedModels(("demo",)),
        "list_models": list_models,
        "try_model": try_model,
        "first_start": FirstStart(layer),
        "system": system or System(),
        "chat_server": chat_server or ChatServer(),
    }
    of_programs = shared | {
        "key_gate": key_gate or KeyGate(layer),
        "ask_thread": ask_thread,
        "webhook_places": webhook_places or Places(),
        "shown_settings": shown_settings,
    }
    return [
        health_router(layer, metrics_token=metrics_token),
        files_router(layer, redirect_seconds=redirect_seconds),
        pages.assets.router(),
        *([api_on_demand(**of_programs)] if ask_thread else []),
        PagesOnDemand(_build_pages, **of_pages),
        RoutesOnDemand(_build_chat, **of_pages),
    ]


def _build_chat() -> APIRouter:
    """What Chainlit's page asks for."""
    from threadkeeper.web import chainlit_pages, page_api  # noqa: PLC0415
    from threadkeeper.web.chainlit_routes import chainlit_router  # noqa: PLC0415

    router = APIRouter()
    for part in (page_api.router, chainlit_pages.router, chainlit_router()):
        router.include_router(part)
    return router


def _build_pages() -> APIRouter:
    from threadkeeper.web.admin import routes as admin  # noqa: PLC0415
    from threadkeeper.web.assistants import routes as assistants  # noqa: PLC0415
    from threadkeeper.web.assistants.knowledge import routes as knowledge  # noqa: PLC0415
    from threadkeeper.web.me import exports, forks, history, invitation, language, password, prompts  # noqa: PLC0415
    from threadkeeper.web.me import keys as own_keys  # noqa: PLC0415
    from threadkeeper.web.me import routes as me  # noqa: PLC0415
    from threadkeeper.web.me import threads as own_threads  # noqa: PLC0415
    from threadkeeper.web.review import routes as review  # noqa: PLC0415
    from threadkeeper.web.usage import routes as usage  # noqa: PLC0415

    router = APIRouter()
    of_me = (me, own_keys, own_threads, exports, forks, history, invitation, language, password, prompts)
    for part in (usage, review, *of_me, assistants, knowledge, admin):
        router.include_router(part.router)
    return router
