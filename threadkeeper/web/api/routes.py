"""The routes of the API, in the order in which they are matched."""

from collections.abc import Sequence

from fastapi import APIRouter, Depends

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.program_turns import AskThread
from threadkeeper.web.api import elements, interactions, messages, threads
from threadkeeper.web.api.documentation import documentation_router
from threadkeeper.web.api.problems import not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.pages.dependencies import share
from threadkeeper.web.pages.shell import PageWriter

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def api_router(
    layer: ChainlitLayer,
    pages: PageWriter,
    key_gate: KeyGate,
    *,
    ask_thread: AskThread,
    asked_reasons: Sequence[str] = (),
) -> APIRouter:
    """The routes.

    Args:
        layer: reads and writes all data.
        pages: writes the page of the documentation.
        key_gate: finds the keys of requests.
        ask_thread: asks questions.
        asked_reasons: the reasons that a thumbs-down can have.
    """
    shared = share(
        layer=layer, pages=pages, key_gate=key_gate, ask_thread=ask_thread, asked_reasons=tuple(asked_reasons)
    )
    router = APIRouter(dependencies=[Depends(shared)])
    parts = (threads.router, messages.router, elements.router, interactions.router)
    for part in parts:
        router.include_router(part)
    router.include_router(documentation_router([route for part in parts for route in part.routes]))
    router.include_router(_nothing_else)
    return router


_nothing_else = APIRouter(prefix=PREFIX, route_class=ApiRoute, include_in_schema=False)


@_nothing_else.api_route("/{path:path}", methods=_METHODS)
async def answer_unknown(path: str) -> None:
    """Chainlit's last route would answer with its page."""
    raise not_found(f"resource: /{path[:200]}")
