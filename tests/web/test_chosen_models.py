"""What an admin decides about a model at `/admin/models` holds at every door: the API, `/v1`, assistants, the pages."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from datalayer import acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import AssistantSettings
from tests.support.model_server import API_KEY, ModelServer
from tests.support.pages import Element, read_page
from tests.support.safe_pages import page_at, posted
from tests.support.v1 import V1Rig, scripted
from tests.web.conftest import Browser, Program, problem
from tests.web.test_api import asked, made
from threadkeeper.conversation.programs import Programs
from threadkeeper.conversation.session import Conversations
from threadkeeper.factories import open_model
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.offered_models import OfferedModels
from threadkeeper.settings.settings import load_settings

# What differs between the engines is tested in `tests/contracts/test_chat_models.py`.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BASE = ("echo", "say:one", "say:two")


@pytest.fixture
def offered_models(layer: ChainlitLayer) -> OfferedModels:
    return OfferedModels(BASE, layer, seconds=0)


@pytest.fixture
async def ask_thread(
    layer: ChainlitLayer, model_server: ModelServer, offered_models: OfferedModels, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Programs]:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.base_url)
    monkeypatch.setenv("OPENAI_MODELS", ",".join(BASE))
    settings = load_settings()
    conversations = Conversations(layer, open_model(settings, layer, []), settings, offered=offered_models)
    yield Programs(layer, conversations)
    await conversations.stop()


@pytest.fixture
def v1_parts(model_server: ModelServer, layer: ChainlitLayer, offered_models: OfferedModels) -> V1Parts:
    return V1Parts(scripted(model_server, *BASE), layer, None, "Be brief.", models=offered_models)


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


def lines(page: Element) -> dict[str, list[str]]:
    """What the page says of each model: for whom, and who decided that. A default is marked in its name."""
    rows = page.one("table", class_="rows models").one("tbody").all("tr")
    return {one.one("th").text: [cell.text for cell in one.all("td")[:2]] for one in rows}


async def decide(ada: httpx.AsyncClient, model: str, access: str, users: str = "") -> None:
    form = await page_at(ada, f"/admin/models/edit?model={model}")
    answer = await posted(ada, form, "/admin/models/edit", model=model, access=access, users=users)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/admin/models?saved=1"), answer.text


def interactions(program: httpx.AsyncClient) -> str:
    """The address of the older API, which is beside that of all others."""
    return f"{program.base_url}".removesuffix("/api/v1/") + "/interactions/"


async def test_the_page_says_where_a_value_comes_from_and_takes_it_back(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    page = await page_at(ada, "/admin/models")
    assert lines(page) == {
        "echo default": ["Everyone", "the setting"],
        "say:one": ["Everyone", "the setting"],
        "say:two": ["Everyone", "the setting"],
    }
    await decide(ada, "say:one", "users", "uma\n")
    await decide(ada, "say:two", "nobody")
    await decide(ada, "added/of:somebody", "everyone")
    await posted(ada, page, "/admin/models/default", model="added/of:somebody")
    page = await page_at(ada, "/admin/models?saved=1")
    assert "Saved." in page.one("p", class_="notice").text
    assert lines(page) == {
        "echo": ["Everyone", "the setting"],
        "say:one": ["These users: uma", "this page"],
        "say:two": ["Nobody: not in the picker", "this page"],
        "added/of:somebody default, chosen here": ["Everyone", "this page"],
    }
    form = await page_at(ada, "/admin/models/edit?model=say:one")
    assert "takes precedence over OPENAI_MODELS" in form.text
    assert form.one("textarea").text == "uma"
    for address, model in (("default/reset", ""), ("reset", "say:one"), ("reset", "say:two")):
        await posted(ada, page, f"/admin/models/{address}", model=model)
    await posted(ada, page, "/admin/models/reset", model="added/of:somebody")
    assert list(lines(await page_at(ada, "/admin/models"))) == ["echo default", "say:one", "say:two"]
    entries = [one for one in (await layer.list_audit()).entries if "model" in one.action]
    assert [one.action for one in entries].count("change_model") == 6
    assert [one.action for one in entries].count("change_default_model") == 2
    assert {one.actor for one in entries} == {"ada"}


@pytest.mark.parametrize(
    ("fields", "told", "field"),
    [
        ({"model": "echo", "access": "nobody"}, "“echo” is the default", "access"),
        ({"model": "echo", "access": "admins"}, "“echo” is the default", "access"),
        ({"model": "say:one", "access": "users", "users": "no such person"}, "There is no user", "users"),
        ({"model": "say:one", "access": "users", "users": " \n"}, "Name at least one user.", "users"),
        ({"model": "say:one", "access": "all"}, "all", ""),
        ({"model": "", "access": "everyone"}, "Give the name of a model", ""),
        ({"model": "x" * 201, "access": "everyone"}, "Give the name of a model", ""),
    ],
)
async def test_what_is_not_valid_is_said_at_its_field_and_changes_nothing(
    layer: ChainlitLayer, ada: httpx.AsyncClient, fields: dict[str, str], told: str, field: str
) -> None:
    form = await page_at(ada, "/admin/models/edit?model=say:one")
    refused = await posted(ada, form, "/admin/models/edit", **fields)
    assert (refused.status_code, told in refused.text) == (400, True), refused.text
    if field:
        page = read_page(refused.text)
        (owner,) = [one for tag in ("fieldset", "textarea") for one in page.all(tag, id=field)]
        problem_id = f"{field}-problem"
        assert problem_id in owner.attributes["aria-describedby"].split()
        assert told in page.one("span", id=problem_id).text
    assert await layer.list_chat_models() == []


async def test_the_default_is_for_everyone(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await decide(ada, "say:one", "admins")
    await decide(ada, "added", "everyone")
    page = await page_at(ada, "/admin/models")
    for model, address, told in (
        ("say:one", "default", "The default is for everyone, and “say:one” is not."),
        ("never heard of", "default", "“never heard of” is not."),
    ):
        refused = await posted(ada, page, f"/admin/models/{address}", model=model)
        assert (refused.status_code, told in refused.text) == (400, True)
    await posted(ada, page, "/admin/models/default", model="added")
    refused = await posted(ada, page, "/admin/models/reset", model="added")
    assert (refused.status_code, "“added” is the default" in refused.text) == (400, True)


async def test_every_door_refuses_a_model_that_was_taken_away(
    layer: ChainlitLayer, ada: httpx.AsyncClient, v1: V1Rig, program_of: Program
) -> None:
    settings = AssistantSettings("Traveller", model="say:one")
    await layer.create_assistant(settings, slug="traveller")
    program, admins = await program_of(), await program_of("admin")
    client = await v1.client_of("gateway", "assistants")
    thread, asked_before = await made(program), await made(program)
    turn = (await asked(program, asked_before["id"], "Hello", model="say:one")).json()
    assert (turn["answer"]["content"], turn["notices"]) == ("one", [])
    assert [one.id async for one in client.models.list()] == [*BASE, "words", "assistant:traveller"]

    await decide(ada, "say:one", "admins")
    await decide(ada, "say:two", "nobody")
    assert [one.id async for one in client.models.list()] == ["echo", "words", "assistant:traveller"]
    for body, field in (({"content": "Hi", "model": "say:one"}, "body.model"),):
        refused = await program.post(f"/threads/{thread['id']}/messages", json=body)
        assert problem(refused) == (422, "invalid")
        assert refused.json()["errors"] == [{"field": field, "detail": "it is not on offer for uma: echo"}]
    refused = await program.post(interactions(program), json={"settings": {"model": "say:two"}})
    assert problem(refused) == (422, "invalid")
    own = await made(admins)
    assert (await asked(admins, own["id"], "Hi", model="say:one")).json()["answer"]["content"] == "one"

    words: list[Any] = [{"role": "user", "content": "Hi"}]
    with pytest.raises(openai.PermissionDeniedError, match="uma may not use the model say:one"):
        await client.chat.completions.create(model="say:one", messages=words)
    with pytest.raises(openai.NotFoundError, match="There is no model 'say:two'"):
        await client.chat.completions.create(model="say:two", messages=words)
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("say:one")
    answer = await client.chat.completions.create(model="assistant:traveller", messages=words)
    assert answer.choices[0].message.content == "You said: Hi"
    await client.embeddings.create(model="words", input="a")

    # A thread goes on with the default, and says so; and so does one with the assistant.
    again = await program.post(f"/threads/{asked_before['id']}/messages/{turn['answer']['id']}/regenerate", json={})
    assert again.json()["answer"]["content"] == "You said: Hello"
    assert again.json()["notices"] == ["The model “say:one” is no longer available; “echo” answers instead."]
    with_assistant = await made(program, assistant="traveller")
    turn = (await asked(program, with_assistant["id"], "Hi")).json()
    assert turn["answer"]["content"] == "You said: Hi"
    assert turn["notices"] == ["The model “say:one” is no longer available; “echo” answers instead."]

    await decide(ada, "new", "users", "uma")
    with acting_as("uma"):
        assert "new" in [one.id async for one in client.models.list()]
    page = await page_at(ada, "/assistants/traveller?mode=advanced")
    offered = [one.text for one in page.one("select", id="model").all("option")][1:]
    assert offered == ["echo", "say:one", "new"]


async def test_an_added_model_and_a_new_default_hold_at_every_door(
    ada: httpx.AsyncClient, v1: V1Rig, program_of: Program
) -> None:
    await decide(ada, "say:three", "everyone")
    await posted(ada, await page_at(ada, "/admin/models"), "/admin/models/default", model="say:three")
    program, client = await program_of(), await v1.client_of()
    thread = await made(program)
    assert (await asked(program, thread["id"], "Hi")).json()["answer"]["content"] == "three"
    names = [one.id async for one in client.models.list()]
    assert names == ["say:three", *BASE, "words"]
    words: list[Any] = [{"role": "user", "content": "Hi"}]
    answer = await client.chat.completions.create(model="say:three", messages=words)
    assert answer.choices[0].message.content == "three"


async def test_an_interaction_whose_model_was_taken_away_goes_on_with_the_default(
    ada: httpx.AsyncClient, program_of: Program
) -> None:
    program = await program_of()
    address = interactions(program)
    made_one = (await program.post(address, json={"settings": {"model": "say:one"}})).json()["data"][0]
    await decide(ada, "say:one", "nobody")
    answer = await program.post(f"{address}{made_one['id']}/messages/", json={"content": "Hi"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"][1]["content"] == "You said: Hi"
