"""The models at `/admin/models`: the lists of the servers, and trials."""

import asyncio
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from aiohttp import web

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, Limit, LlmCall
from tests.support.model_server import API_KEY, ModelServer
from tests.support.pages import Element
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser
from threadkeeper.chat.listing import ListedServer, ModelLists
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.listing import ModelListServer
from threadkeeper.chat.trying_models import ModelTrial
from threadkeeper.web.admin import models

# What differs between the engines is tested in `tests/contracts`.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def odd_servers() -> AsyncIterator[str]:
    """The address of servers that refuse, answer with a page, have no list, or say nothing until the test ends."""
    ended = asyncio.Event()

    async def refuse(request: web.Request) -> web.Response:
        words = f"Incorrect API key provided: {request.headers['Authorization'].removeprefix('Bearer ')}."
        return web.json_response({"error": {"message": words, "code": "invalid_api_key"}}, status=401)

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<p>Welcome", content_type="text/html")

    async def hang(_request: web.Request) -> web.Response:
        await ended.wait()
        return web.Response()

    application = web.Application()
    for name, handler in (("refuses", refuse), ("page", page), ("hangs", hang)):
        application.router.add_get(f"/{name}/models", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        await runner.cleanup()


@pytest.fixture
def odd_names() -> tuple[str, ...]:
    """Without the one that says nothing: each page would wait for it."""
    return ("refuses", "page", "none")


@pytest.fixture
async def model_pages(
    layer: ChainlitLayer, model_server: ModelServer, odd_servers: str, odd_names: tuple[str, ...]
) -> AsyncIterator[dict[str, Any]]:
    """The scripted server answers; the others fail, each in its own way."""
    addresses = [f"{odd_servers}/{name}" for name in odd_names] + ["http://127.0.0.1:9/v1"]
    servers = [ListedServer("chat", ModelListServer(model_server.base_url, API_KEY), model_server.base_url)]
    servers += [ListedServer("embedding", ModelListServer(one, "a-key-of-mine"), one) for one in addresses]
    model = create_model(api_key=API_KEY, base_url=model_server.base_url, max_retries=2)
    yield {
        "list_models": ModelLists(servers, seconds=5.0),
        "try_model": ModelTrial(MeteredModel(model, layer), layer),
    }
    await model.close()


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


async def trials(layer: ChainlitLayer) -> list[LlmCall]:
    with acting_as(SYSTEM):
        return [row.call for row in (await layer.list_calls(CallFilter(kinds=("try",)))).rows]


def facts(page: Element) -> dict[str, str]:
    return {one.one("dt").text: one.one("dd").text for one in page.one("dl").all("div")}


@pytest.mark.parametrize("odd_names", [("refuses", "page", "none", "hangs")])
async def test_each_server_shows_its_models_or_its_own_words(ada: httpx.AsyncClient) -> None:
    page = await page_at(ada, "/admin/models")
    answering, refusing, odd, listless, hanging, away = page.all("section", class_="server")
    assert "It offers 3 models." in answering.text
    assert [one.all("span")[0].text for one in answering.all("li")] == ["context-echo", "echo", "slow:200:0.02"]
    assert refusing.one("code", class_="words").text == ("HTTP 401 invalid_api_key: Incorrect API key provided: ***.")
    assert "check the key in the settings" in refusing.text
    assert "The answer is no list of models." in odd.text
    assert "HTTP 404" in listless.text and "If its models answer, this is no problem" in listless.text
    assert "no answer within 5 s" in hanging.text or "Timeout" in hanging.text
    assert "ConnectionRefusedError" in away.text and "There is no connection." in away.text
    assert "a-key-of-mine" not in page.text


async def test_a_long_list_is_cut_and_the_page_says_so(ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_MOST_LISTED", 2)
    answering = (await page_at(ada, "/admin/models")).all("section", class_="server")[0]
    assert "It offers 3 models. " in answering.text
    assert "The list below has the first 2." in answering.text
    assert [one.all("span")[0].text for one in answering.all("li")] == ["context-echo", "echo"]


async def test_a_trial_shows_answer_tokens_and_cost_and_is_a_call_of_the_admin(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, Any], model_server: ModelServer
) -> None:
    page = await page_at(ada, "/admin/models")
    shown = await posted(ada, page, "/admin/models/try", model="gpt-4o-mini")
    assert shown.status_code == 200
    assert "You said: Answer in one short sentence" in shown.text
    assert "of the answer" in shown.text
    assert model_server.requests[-1].body["max_tokens"] == 200
    (call,) = await until(lambda: trials(layer))
    assert (call.model, call.user_id) == ("gpt-4o-mini", people["admin"].id)
    assert f"/usage/calls/{call.id}" in shown.text
    # No price is published for a server of this machine.
    assert "/admin/money/prices/new?model=gpt-4o-mini" in shown.text
    (entry,) = [one for one in (await layer.list_audit()).entries if one.action == "try_model"]
    assert (entry.actor, entry.details) == ("ada", {"model": "gpt-4o-mini"})


@pytest.mark.parametrize(
    ("model", "words", "todo"),
    [
        ("401", "HTTP 401", "The server refuses the key."),
        ("no-such-model", "HTTP 404", "The server has no model “no-such-model”"),
        ("503", "HTTP 503", "The server failed."),
        ("quota", "HTTP 429", "has no credit left"),
        ("html", "line 1 column 1 (char 0)): &lt;html&gt;", "The server answered, but not as a chat does."),
        ("empty", "the answer has no text", "The words below say what happened."),
    ],
)
async def test_a_trial_that_fails_shows_the_servers_words_and_what_to_do(
    ada: httpx.AsyncClient, model_server: ModelServer, model: str, words: str, todo: str
) -> None:
    page = await page_at(ada, "/admin/models")
    shown = await posted(ada, page, "/admin/models/try", model=model)
    assert shown.status_code == 200
    assert words in shown.text
    assert todo in shown.text
    # A trial is not repeated by itself.
    assert len([one for one in model_server.requests if one.model == model]) == 1


async def test_a_trial_is_under_the_limits_of_the_admin(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, Any], model_server: ModelServer
) -> None:
    with acting_as(SYSTEM):
        await layer.put_limit(Limit(new_id(), "user", people["admin"].id, "day", "tokens", Decimal(1)))
    shown = await posted(ada, await page_at(ada, "/admin/models"), "/admin/models/try", model="echo")
    assert "A limit is reached, so nothing was sent" in shown.text
    assert "The call is stored" not in shown.text
    assert not model_server.requests


@pytest.mark.parametrize("name", ["", "  ", "a" * 201, "a\nb"])
async def test_a_name_that_is_none_is_refused(ada: httpx.AsyncClient, name: str, model_server: ModelServer) -> None:
    page = await page_at(ada, "/admin/models")
    refused = await posted(ada, page, "/admin/models/try", model=name)
    assert (refused.status_code, "Give the name of a model" in refused.text) == (400, True)
    assert not model_server.requests
