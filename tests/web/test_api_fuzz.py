"""Schemathesis sends made-up requests to every route of the API, by its OpenAPI document: valid ones and invalid ones.

No answer may be a fault of the server, have a status or a body that the document does not have, or an error without the
shape of a problem. API_EXAMPLES=500 sends more of them to each route than the tests do.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import requests
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, openapi
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import Receive, Scope, Send

from datalayer import Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import AssistantSettings
from datalayer.records.keys import KEY_SCOPES
from tests.support.calls import call
from tests.support.records import new_id
from tests.support.reviewing import talk
from tests.web.conftest import KNOWLEDGE_LIMITS, KNOWLEDGE_PLACES, SECRET, THEME, nobody_trains
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.trying import Trial
from threadkeeper.conversation.programs import Programs
from threadkeeper.jobs.answers import register_answers
from threadkeeper.jobs.imports import register_imports
from threadkeeper.jobs.takeouts import register_takeouts
from threadkeeper.jobs.trainings import register_trainings
from threadkeeper.jobs.webhooks import register_webhooks
from threadkeeper.login.accounts import Authenticator
from threadkeeper.login.passwords import Passwords
from threadkeeper.login.throttle import LoginThrottle
from threadkeeper.offered_models import OfferedModels
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.settings.report import shown_settings
from threadkeeper.web.api.routes import api_router
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.pages.shell import PageWriter

EXAMPLES = int(os.environ.get("API_EXAMPLES", "6"))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DERANDOMIZED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
async def there(layer: ChainlitLayer, people: dict[str, User]) -> dict[str, str]:
    """Records of every kind, and the names that paths have for them."""
    register_trainings(layer, nobody_trains)
    turn = await talk(layer, "ada", thumb=0)
    made = call(user_id=people["admin"].id, prompt_tokens=1)
    await layer.record_call(made)
    await layer.put_project(Project(new_id(), "The lab", "lab"))
    with acting_as("ada"):
        await layer.create_assistant(AssistantSettings("Travel"), slug="travel")
    training = await layer.start_training("travel")
    return {
        "thread_id": turn.thread,
        "interaction_id": turn.thread,
        "message_id": turn.answer,
        "answer_id": turn.answer,
        "transaction_id": made.id,
        "user_id": people["user"].id,
        "training_id": training.id,
        "slug": "travel",
        "version": "1",
        "kind": "pairs",
    }


@pytest.fixture
async def api(
    layer: ChainlitLayer,
    people: dict[str, User],
    passwords: Passwords,
    ask_thread: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx.AsyncClient]:
    """A program of an admin with every scope."""
    monkeypatch.setenv("CHAINLIT_AUTH_SECRET", SECRET)
    register_answers(layer, ask_thread)
    register_webhooks(layer, KNOWLEDGE_PLACES)
    register_takeouts(layer)
    register_imports(layer, tmp_path)
    with acting_as("ada"):
        _, secret = await layer.create_api_key("a program", KEY_SCOPES)
    shared = {
        "layer": layer,
        "pages": PageWriter(THEME),
        "key_gate": KeyGate(layer),
        "ask_thread": ask_thread,
        "review_policy": ReviewPolicy(),
        "knowledge_limits": KNOWLEDGE_LIMITS,
        "knowledge_places": KNOWLEDGE_PLACES,
        "webhook_places": KNOWLEDGE_PLACES,
        "shown_settings": shown_settings,
        "asked_reasons": (),
        "try_assistant": Trial(DemoModel(), offered=OfferedModels(("demo",)), default_prompt="Be brief."),
        "public_url": "https://chat.example.com",
        # Wrong passwords do not slow the test down.
        "accounts": Authenticator(layer, passwords, LoginThrottle(clock=lambda: 0.0, sleep=no_pause)),
    }
    app = FastAPI(openapi_url=None)
    app.include_router(api_router())

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update(shared)
        await app(scope, receive, send)

    transport = httpx.ASGITransport(with_state, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers={"x-api-key": secret}) as client:
        yield client


async def no_pause(_seconds: float) -> None:
    pass


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.slow
# More than a hundred routes: on a busy machine it takes longer than other tests may.
@pytest.mark.timeout(900)
async def test_every_route_answers_made_up_requests_as_its_document_says(
    api: httpx.AsyncClient, there: dict[str, str]
) -> None:
    document = (await api.get("/api/v1/openapi.json")).json()
    tried, failed = await asyncio.to_thread(try_all, document, api, there, asyncio.get_running_loop())
    assert not failed, "\n\n".join(failed)
    operations = {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}
    assert tried.keys() == operations
    assert min(tried.values()) >= EXAMPLES


def try_all(
    document: dict[str, Any], api: httpx.AsyncClient, there: Mapping[str, str], loop: asyncio.AbstractEventLoop
) -> tuple[Counter[str], list[str]]:
    """Send requests to each operation; gives how many, and what was wrong. What deletes comes last."""
    found: list[Any] = [cast(Any, result).ok() for result in openapi.from_dict(document).get_all_operations()]
    tried: Counter[str] = Counter()
    failed = []

    def send(case: Case[Any], *, knows: bool) -> None:
        tried[f"{case.operation.method.upper()} {case.operation.path}"] += 1
        if knows:
            known = {key: value for key, value in there.items() if key in case.path_parameters}
            case.path_parameters = {**case.path_parameters, **known}
        asked = case.as_transport_kwargs(base_url="http://api")
        request = requests.Request(**asked | {"cookies": None}).prepare()
        body = request.body.encode() if isinstance(request.body, str) else cast("bytes | None", request.body)
        raw = [(name.encode(), _bytes(value)) for name, value in request.headers.items()]
        sent = httpx.Request(request.method or "", request.url or "", headers=[*raw, *key_header(api)], content=body)
        answer = asyncio.run_coroutine_threadsafe(api.send(sent), loop).result(60)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=CHECKS)

    for operation in sorted(found, key=lambda one: one.method.upper() == "DELETE"):
        for mode in GenerationMode:
            # What is deleted is missing for what comes after.
            knows = st.booleans() if operation.method.upper() != "DELETE" else st.just(False)
            try:
                DERANDOMIZED(given(case=operation.as_strategy(mode), knows=knows)(send))()
            except (AssertionError, FailureGroup, Failure, ExceptionGroup) as failure:
                failed.append(f"{operation.method.upper()} {operation.path} ({mode}): {failure}")
    return tried, failed


def key_header(api: httpx.AsyncClient) -> list[tuple[bytes, bytes]]:
    return [(b"x-api-key", api.headers["x-api-key"].encode())]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
