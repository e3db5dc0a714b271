"""Chainlit's application with our routes, served over real HTTP in the test's event loop."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from chainlit.auth import create_jwt
from chainlit.user import User as ChainlitUser
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from datalayer import Project, Provider, Training, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.cheap_passwords import CHEAP_HASHER
from tests.support.model_server import ModelServer
from tests.support.plain_http import PLAIN_HTTP
from tests.support.records import new_id
from tests.support.served import served
from tests.support.v1 import V1Rig
from tests.web.gateway_rig import SECRET as PROVIDER_SECRET
from tests.web.gateway_rig import Rig
from threadkeeper.chat.listing import ModelLists
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.trying import Trial
from threadkeeper.chat.trying_models import ModelTrial
from threadkeeper.conversation.programs import Programs
from threadkeeper.conversation.session import Conversations
from threadkeeper.gateway.routes import GatewayOnDemand, gateway_router
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.jobs.answers import register_answers
from threadkeeper.jobs.imports import register_imports
from threadkeeper.jobs.repricing import register_repricing
from threadkeeper.jobs.takeouts import register_takeouts
from threadkeeper.jobs.trainings import register_trainings
from threadkeeper.jobs.webhooks import register_webhooks
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.loaders.base import LoadOptions
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.login.accounts import Authenticator
from threadkeeper.login.passwords import Passwords
from threadkeeper.offered_models import OfferedModels
from threadkeeper.pricing.history import ChatServer
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.settings.report import shown_settings
from threadkeeper.settings.settings import Settings, load_settings
from threadkeeper.web.auth.chainlit_logins import register_logins
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.mount import mount
from threadkeeper.web.routers import all_routers
from threadkeeper.web.system import System

SECRET = "a secret for the tests, long enough to sign with"

THEME = Path(__file__).parents[2] / "public" / "theme.json"
NAMES = {"user": "uma", "reviewer": "rita", "admin": "ada"}
OWNERS = {"travel": ("uma",)}
MODELS = ("large", "small")
CHAT_SERVER = ChatServer("models.example", "http://models.example/v1")
KNOWLEDGE_LIMITS = LoadLimits(megabytes=1, options=LoadOptions(max_rows=100))
KNOWLEDGE_PLACES = Places(url_hosts(["docs.example.com", "http://wiki.example:8080=10.0.0.0/8"]))

Serve = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
Browser = Callable[[str | None], Awaitable[httpx.AsyncClient]]
Program = Callable[..., Awaitable[httpx.AsyncClient]]
BOTH = ("threads:read", "threads:write")


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(CHEAP_HASHER)


@pytest.fixture
def chainlit_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    """`chainlit.server.app`, shared by the process, restored after the test."""
    from chainlit.config import config  # noqa: PLC0415  after CHAINLIT_APP_ROOT is set
    from chainlit.server import app  # noqa: PLC0415

    for name in [name for name in os.environ if name.startswith("OAUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", SECRET)
    app.middleware_stack = None  # another test may have started it
    code = config.code
    callbacks = (code.password_auth_callback, code.header_auth_callback, code.oauth_callback, code.on_logout)
    routes, middleware, handlers = app.router.routes[:], app.user_middleware[:], dict(app.exception_handlers)
    yield app
    code.password_auth_callback, code.header_auth_callback, code.oauth_callback, code.on_logout = callbacks
    app.router.routes[:] = routes
    app.user_middleware[:] = middleware
    app.exception_handlers.clear()
    app.exception_handlers.update(handlers)
    app.middleware_stack = None
    for name in ("threadkeeper_routes", "threadkeeper_middleware"):
        if hasattr(app.state, name):
            delattr(app.state, name)


@pytest.fixture
def serve(chainlit_app: FastAPI) -> Serve:
    """Serve the application as mounted; gives a client without a cookie."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[httpx.AsyncClient]:
        async with (
            served(chainlit_app) as address,
            httpx.AsyncClient(base_url=address, **PLAIN_HTTP, timeout=30) as client,
        ):
            yield client

    return serving


async def no_gate(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Admit every request; the system acts."""
    await app(scope, receive, send)


async def nobody_trains(training_id: str, **_: Any) -> Training:
    """For jobs that no process of the test runs."""
    raise AssertionError


# The whole of ours, and people of every role


@pytest.fixture
async def people(layer: ChainlitLayer, passwords: Passwords) -> dict[str, User]:
    """A user of every role."""
    password_hash = await passwords.hash("the analytical engine")
    return {role: await layer.add_account(name, password_hash, role) for role, name in NAMES.items()}


@pytest.fixture
def extra_routers() -> list[APIRouter]:
    """Additional routers of a test."""
    return []


@pytest.fixture
def review_policy() -> ReviewPolicy:
    """The operator's settings for the review."""
    return ReviewPolicy()


@pytest.fixture
def v1_parts() -> V1Parts:
    """What `/v1` offers."""
    return V1Parts()


@pytest.fixture
async def gateway(layer: ChainlitLayer, v1_parts: V1Parts) -> AsyncIterator[GatewayOnDemand]:
    """The gateway of the application."""
    opened = GatewayOnDemand(layer, GatewaySettings(megabytes=1), KeyGate(layer, remember_seconds=0), v1_parts)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def usual_settings() -> Settings:
    """The settings without those of a test: to read them takes 8 ms of CPU time."""
    return load_settings()


@pytest.fixture
async def ask_thread(layer: ChainlitLayer, usual_settings: Settings) -> AsyncIterator[Programs]:
    """The conversations of this process, with the demo."""
    conversations = Conversations(layer, DemoModel(), usual_settings)
    yield Programs(layer, conversations)
    await conversations.stop()


@pytest.fixture
def webhook_places() -> Places:
    """Where webhooks may be sent: nowhere."""
    return Places()


@pytest.fixture
def offered_models(layer: ChainlitLayer) -> OfferedModels:
    """The models on offer, which are read again for each request."""
    return OfferedModels(MODELS, layer, seconds=0)


@pytest.fixture
def model_pages(layer: ChainlitLayer) -> dict[str, Any]:
    """What the page of the models asks: no server, and the demo."""
    return {"list_models": ModelLists([]), "try_model": ModelTrial(DemoModel(), layer)}


@pytest.fixture
def try_assistant() -> Trial:
    """Tries assistants with the demo."""
    return Trial(DemoModel(), offered=OfferedModels(("demo",)), default_prompt="Be brief.")


@pytest.fixture
def whole_app(
    layer: ChainlitLayer,
    gateway: GatewayOnDemand,
    ask_thread: Programs,
    passwords: Passwords,
    chainlit_app: FastAPI,
    extra_routers: list[APIRouter],
    review_policy: ReviewPolicy,
    webhook_places: Places,
    model_pages: dict[str, Any],
    offered_models: OfferedModels,
    try_assistant: Trial,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> FastAPI:
    monkeypatch.setattr("chainlit.data._data_layer", layer)
    monkeypatch.setattr("chainlit.data._data_layer_initialized", True)
    accounts = Authenticator(layer, passwords)
    register_logins(layer, authenticator=accounts)
    register_trainings(layer, nobody_trains)
    register_answers(layer, ask_thread)
    register_webhooks(layer, webhook_places)
    register_takeouts(layer)
    register_imports(layer, tmp_path / "imports")
    register_repricing(layer, CHAT_SERVER)
    ours = all_routers(
        layer,
        ask_thread=ask_thread,
        key_gate=KeyGate(layer, remember_seconds=0),
        theme=THEME,
        review_policy=review_policy,
        assistant_owners=OWNERS,
        asked_reasons=review_policy.reasons,
        offered_models=offered_models,
        knowledge_limits=KNOWLEDGE_LIMITS,
        knowledge_places=KNOWLEDGE_PLACES,
        webhook_places=webhook_places,
        shown_settings=shown_settings,
        system=System(retention_days={"threads": 90, "payloads": 30}),
        accounts=accounts,
        chat_server=CHAT_SERVER,
        try_assistant=try_assistant,
        **model_pages,
    )
    gate = Gate(layer, remember_seconds=0)
    mount(chainlit_app, *ours, *extra_routers, gate=gate, programs=gateway_router(gateway))
    return chainlit_app


@pytest.fixture
async def browser_of(whole_app: FastAPI, people: dict[str, User], serve: Serve) -> AsyncIterator[Browser]:
    """The browser of the person with this role, or of a visitor."""
    async with serve() as visitor, AsyncExitStack() as clients:

        async def browser(role: str | None) -> httpx.AsyncClient:
            client = httpx.AsyncClient(base_url=visitor.base_url, **PLAIN_HTTP, timeout=30)
            if role is not None:
                client.cookies.set("access_token", create_jwt(ChainlitUser(identifier=people[role].identifier)))
            return await clients.enter_async_context(client)

        yield browser


@pytest.fixture
async def program_of(
    whole_app: Any, layer: ChainlitLayer, people: dict[str, User], serve: Serve
) -> AsyncIterator[Program]:
    """A program with a key of the person with this role."""
    async with serve() as visitor, AsyncExitStack() as clients:

        async def program(role: str = "user", scopes: Any = BOTH, **fields: Any) -> httpx.AsyncClient:
            with acting_as(people[role].identifier):
                _, secret = await layer.create_api_key("a program", scopes, **fields)
            base = f"{visitor.base_url}".rstrip("/") + "/api/v1"
            client = httpx.AsyncClient(base_url=base, headers={"x-api-key": secret}, **PLAIN_HTTP, timeout=60)
            return await clients.enter_async_context(client)

        yield program


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the kind of an error of the API."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"]
    kind = body["type"].removeprefix("urn:threadkeeper:problem:")
    assert body["errors"] or (answer.status_code != 422 and kind != "exists"), "a refused value names its field"
    return answer.status_code, kind


@pytest.fixture
async def rig(
    layer: ChainlitLayer,
    whole_app: FastAPI,
    people: dict[str, User],
    serve: Serve,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Rig]:
    monkeypatch.setenv("LAB_KEY", PROVIDER_SECRET)
    root = model_server.root
    providers = (
        Provider("OpenAI", "openai", f"{root}/v1", secret="LAB_KEY"),
        Provider("Anthropic", "anthropic", root, secret="LAB_KEY"),
        Provider("Gemini", "gemini", root, secret="LAB_KEY"),
        Provider("Azure", "azure", root, secret="LAB_KEY", deployment="east"),
        Provider("Own key", "own", f"{root}/v1", passes_key=True),
        Provider("Nobody", "away", "http://127.0.0.1:9/v1"),
        Provider("No key", "unset", f"{root}/v1", secret="NOT_SET_ANYWHERE"),
        Provider("Ours", "ours", f"{root}/v1", secret="CHAINLIT_AUTH_SECRET"),
        Provider("Incomplete", "incomplete"),
    )
    project = await layer.put_project(Project(new_id(), "The lab", "lab", owner="ada", providers=providers))
    await layer.put_project(
        Project(new_id(), "Other", "other", owner="rita", providers=(replace(providers[0], slug="theirs"),))
    )
    _, secret = await layer.create_api_key("tests", ["gateway"], user="uma", project="lab")
    async with AsyncExitStack() as opened, serve() as client:
        yield Rig(layer, model_server, client, secret, project, opened)


@pytest.fixture
async def v1(
    layer: ChainlitLayer, whole_app: FastAPI, people: dict[str, User], serve: Serve, model_server: ModelServer
) -> AsyncIterator[V1Rig]:
    """Programs of uma at `/v1`."""
    async with AsyncExitStack() as opened, serve() as client:
        yield V1Rig(layer, model_server, client, people, opened)
