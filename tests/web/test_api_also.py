"""The API for what the pages have beside the chat: exports, imports, settings, trials, columns, invitations, audit."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from datalayer import SYSTEM, Project, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.records.chat import Login
from datalayer.records.usage import CallFilter
from datalayer.schema.keys import api_replies
from tests.support.exports import chatgpt
from tests.support.job_process import TIMES
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.reviewing import talk
from tests.web.conftest import Browser, Program, problem
from tests.web.test_api import ask_thread, asked, made, model_server  # noqa: F401  the scripted model server
from threadkeeper.chat.trying import KIND as TRIAL
from threadkeeper.chat.trying import Trial
from threadkeeper.conversation.programs import Programs
from threadkeeper.factories import offered_models, open_model, trial
from threadkeeper.settings.settings import load_settings
from threadkeeper.web.me import uploaded_exports

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def jobs(layer: ChainlitLayer, whole_app: FastAPI) -> AsyncIterator[None]:
    """The server runs jobs."""
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


async def test_threads_are_exported_as_files(program_of: Program, layer: ChainlitLayer) -> None:
    first, second = await talk(layer, "uma", "a kangaroo"), await talk(layer, "uma", "a wallaby")
    program, other = await program_of(scopes=["threads:read"]), await program_of("admin", scopes=["threads:read"])
    one = await program.get(f"/threads/{first.thread}/export", params={"format": "markdown"})
    assert one.headers["content-type"] == "text/markdown; charset=utf-8"
    assert ("a kangaroo" in one.text, "a wallaby" in one.text) == (True, False)
    whole = (await program.get("/export")).text
    assert ("a kangaroo" in whole, second.thread in whole) == (True, True)
    assert first.thread not in (await other.get("/export")).text
    assert problem(await other.get(f"/threads/{first.thread}/export")) == (404, "not-found")
    assert problem(await program.get("/export", params={"format": "docx"})) == (422, "invalid")


@pytest.mark.usefixtures("jobs")
async def test_an_export_of_another_chat_is_looked_through_and_imported(
    program_of: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, other = await program_of(scopes=["account", "threads:read"]), await program_of("admin", scopes=["account"])
    content, once = chatgpt.EXPORT.write(tmp_path).read_bytes(), {"Idempotency-Key": "import"}
    looking = await program.post("/me/imports", params={"name": "chats.zip"}, content=content, headers=once)
    assert looking.status_code == 202, looking.text
    here = f"/me/imports/{looking.json()['id']}"
    assert looking.headers["location"] == f"/api/v1{here}"

    async def done(path: str) -> dict[str, Any] | None:
        found: dict[str, Any] = (await program.get(path)).json()
        return found if found["state"] == "done" else None

    looked = await until(lambda: done(here))
    assert (looked["is_check"], looked["name"], looked["report"]["new"]) == (True, "chats.zip", 4)
    again = await program.post("/me/imports", params={"name": "chats.zip"}, content=content, headers=once)
    assert (again.json(), again.headers["idempotency-replayed"]) == (looking.json(), "true")
    for method, path in (("GET", here), ("POST", f"{here}/start"), ("POST", f"{here}/cancel")):
        assert problem(await other.request(method, path)) == (404, "not-found")
    begun = await program.post(f"{here}/start")
    assert begun.status_code == 202, begun.text
    imported = await until(lambda: done(f"/me/imports/{begun.json()['id']}"))
    assert (imported["is_check"], imported["report"]["new"]) == (False, 4)
    assert len((await program.get("/threads")).json()["data"]) == 4
    assert (await program.post(f"{here}/start")).json()["id"] == begun.json()["id"], "once"
    (newest, oldest) = (await program.get("/me/imports")).json()["data"]
    assert [newest["id"], oldest["id"]] == [begun.json()["id"], looking.json()["id"]]
    assert problem(await program.post(f"/me/imports/{newest['id']}/start")) == (409, "conflict")
    monkeypatch.setattr("threadkeeper.web.api.imports.LARGEST_BYTES", 10)
    large = await program.post("/me/imports", params={"name": "chats.zip"}, content=content)
    assert problem(large) == (413, "too-large")


async def test_a_user_has_one_import_at_a_time(program_of: Program, layer: ChainlitLayer, tmp_path: Path) -> None:
    program = await program_of(scopes=["account"])
    once: dict[str, Any] = {"params": {"name": "a"}, "headers": {"Idempotency-Key": "a"}}
    first = await program.post("/me/imports", content=b"one", **once)
    assert first.status_code == 202
    again = await program.post("/me/imports", content=b"one", **once)
    assert (again.status_code, again.json()) == (202, first.json()), "while the look runs"
    assert problem(await program.post("/me/imports", content=b"two", **once)) == (422, "invalid")
    other: dict[str, Any] = {"params": {"name": "b"}, "headers": {"Idempotency-Key": "b"}}
    assert problem(await program.post("/me/imports", content=b"two", **other)) == (409, "in-progress")
    assert problem(await program.post("/me/imports", params={"name": "b"}, content=b"two")) == (409, "in-progress")
    here = f"/me/imports/{first.json()['id']}"
    assert problem(await program.post(f"{here}/start")) == (409, "conflict")
    assert (await program.post(f"{here}/cancel")).json()["state"] == "cancelled"
    assert (await program.post("/me/imports", content=b"two", **other)).status_code == 202
    with acting_as("uma"):
        newest = await uploaded_exports.newest_import(layer)
    assert newest is not None
    assert newest.arguments["name"] == "b"


def sent_for(server: ModelServer, question: str) -> dict[str, Any]:
    """The request for this question, and not that for a title."""
    return next(one.body for one in server.requests if one.body["messages"][-1]["content"] == question)


async def test_the_settings_of_a_thread_and_of_a_user_are_those_of_the_chat(
    program_of: Program,
    model_server: ModelServer,  # noqa: F811
) -> None:
    program = await program_of(scopes=["account", "threads:read", "threads:write"])
    thread = await made(program, settings={"system_prompt": "Answer in Latin.", "temperature": 1.5, "max_tokens": 77})
    assert thread["settings"]["no_system_prompt"] is None
    await asked(program, thread["id"], "Salve")
    sent = sent_for(model_server, "Salve")
    assert sent["messages"][0] == {"role": "system", "content": "Answer in Latin."}
    assert (sent["temperature"], sent["max_tokens"]) == (1.5, 77)
    here = f"/threads/{thread['id']}"
    etag = (await program.get(here)).headers["etag"]
    changed = await program.patch(here, json={"settings": {"no_system_prompt": True, "temperature": None}})
    assert changed.headers["etag"] != etag
    assert changed.json()["settings"] == {
        "system_prompt": "Answer in Latin.",
        "no_system_prompt": True,
        "temperature": None,
        "max_tokens": 77,
    }
    await asked(program, thread["id"], "Vale")
    assert sent_for(model_server, "Vale")["messages"][0]["role"] == "user"
    for wrong in ({"temperature": 3}, {"max_tokens": -1}, {"colour": "red"}, {"system_prompt": "x" * 20_001}):
        assert problem(await program.patch(here, json={"settings": wrong})) == (422, "invalid")

    saved = await program.patch("/me/chat-settings", json={"system_prompt": "Be polite."})
    assert saved.json()["system_prompt"] == "Be polite."
    assert (await program.patch("/me/chat-settings", json={"max_tokens": 9})).json()["system_prompt"] == "Be polite."
    assert (await program.get("/me/chat-settings")).json()["max_tokens"] == 9
    await asked(program, (await made(program))["id"], "Hello")
    assert sent_for(model_server, "Hello")["messages"][0]["content"] == "Be polite."

    # The first settings of a thread are over those of the user; a thread that has no more of them has the defaults.
    cold = await made(program, settings={"temperature": 0.2})
    assert (cold["settings"]["system_prompt"], cold["settings"]["max_tokens"]) == ("Be polite.", 9)
    here = f"/threads/{(await made(program))['id']}"
    changed = await program.patch(here, json={"settings": {"temperature": 0.2}})
    assert changed.json()["settings"] == cold["settings"]
    nothing = dict.fromkeys(cold["settings"])
    assert (await program.patch(here, json={"settings": nothing})).json()["settings"] == nothing
    await asked(program, here.removeprefix("/threads/"), "Alone")
    assert sent_for(model_server, "Alone")["messages"][0]["content"] != "Be polite."


@pytest.mark.parametrize(("read", "of_thread"), [("get_thread_head", True), ("get_account", False)])
async def test_of_two_changes_of_settings_at_once_none_is_lost(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, read: str, of_thread: bool
) -> None:
    program = await program_of(scopes=["account", "threads:read", "threads:write"])
    here = f"/threads/{(await made(program))['id']}" if of_thread else "/me/chat-settings"
    reads, both_have_read, original = 0, asyncio.Barrier(2), getattr(layer, read)

    async def read_at_once(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        is_first = reads <= both_have_read.parties
        found = await original(*args)
        if is_first:
            await both_have_read.wait()
        return found

    monkeypatch.setattr(layer, read, read_at_once)
    changes: list[dict[str, Any]] = [{"temperature": 0.2}, {"max_tokens": 9}]
    bodies = [{"settings": one} if of_thread else one for one in changes]
    answers = await asyncio.gather(*(program.patch(here, json=body) for body in bodies))
    assert [one.status_code for one in answers] == [200, 200]
    found = (await program.get(here)).json()
    settings = found["settings"] if of_thread else found
    assert (settings["temperature"], settings["max_tokens"]) == (0.2, 9)


@pytest.fixture
def try_assistant(layer: ChainlitLayer, ask_thread: Programs) -> Trial:  # noqa: F811
    """Tries assistants with the model server of the conversations."""
    settings = load_settings()
    model = open_model(settings, layer, [])
    return trial(settings, model, offered_models(settings, model, layer))


async def test_an_assistant_is_tried_with_settings_that_are_not_saved(
    program_of: Program, layer: ChainlitLayer
) -> None:
    ada, uma = await program_of("admin", scopes=["assistants"]), await program_of(scopes=["assistants"])
    await ada.post("/assistants", json={"slug": "travel", "settings": {"name": "Travel"}})
    here, once = "/assistants/travel/trials", {"Idempotency-Key": "trial"}
    tried = await ada.post(here, json={"question": "Where to?", "settings": {"prompt": "Be brief."}}, headers=once)
    assert tried.status_code == 200, tried.text
    assert tried.json()["model"] == "echo"
    assert (await ada.get("/assistants/travel")).json()["version"] == 1
    wrong = await ada.post(here, json={"question": "Where to?", "settings": {"temperature": 9}})
    assert wrong.json()["errors"][0]["field"] == "body.settings.temperature"
    assert problem(await uma.post(here, json={"question": "Where to?"})) == (403, "forbidden")

    # A key tries no other model than it may use, and its tokens, its project and itself are those of the call.
    project = await layer.put_project(Project(new_id(), "Lab", "lab", owner="ada"))
    bounds: dict[str, Any] = {"models": ["assistant:travel"], "tokens_per_minute": 5, "project": "lab"}
    bounded = await program_of("admin", scopes=["assistants"], **bounds)
    question = {"question": "Where to?"}
    other = question | {"settings": {"model": "context-echo"}}
    assert problem(await bounded.post(here, json=other)) == (403, "model-not-allowed")
    assert (await bounded.post(here, json=question)).status_code == 200
    assert problem(await bounded.post(here, json=question)) == (429, "rate-exceeded")
    with acting_as("ada"):
        keys = {one.prefix: one.id for one in await layer.list_api_keys()}
    with acting_as(SYSTEM):
        rows = (await layer.list_calls(CallFilter(kinds=(TRIAL,)))).rows
    paid = [(one.call.key_id, one.call.project_id) for one in rows]
    default = await layer.default_project()
    assert sorted(paid) == sorted(
        [(keys[ada.headers["x-api-key"][:10]], default), (keys[bounded.headers["x-api-key"][:10]], project.id)]
    )


async def test_a_data_source_is_renamed_downloaded_and_its_columns_are_chosen(program_of: Program) -> None:
    ada, uma = await program_of("admin", scopes=["assistants"]), await program_of(scopes=["assistants"])
    await ada.post("/assistants", json={"slug": "travel", "settings": {"name": "Travel"}})
    table = b"city,country,inhabitants\nParis,France,2000000\nRome,Italy,2800000\n"
    params = {"title": "cities.csv", "kind": "datasheet"}
    source = (await ada.post("/assistants/travel/sources/files", params=params, content=table)).json()["source"]
    here = f"/assistants/travel/sources/{source['id']}"
    chosen = {"columns": ["country", "city"], "record_id": "city"}
    changed = await ada.patch(here, json={"title": "Cities of Europe", "columns": chosen})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["title"], changed.json()["options"]["columns"]) == (
        "Cities of Europe.csv",
        ["city", "country"],
    )
    assert (await ada.get(f"{here}/content")).content == table
    for wrong, field in (
        ({"columns": ["mayor"]}, "columns"),
        ({"sheet": "2"}, "sheet"),
        ({"record_id": "x"}, "record_id"),
    ):
        refused = await ada.patch(here, json={"columns": wrong})
        assert refused.json()["errors"][0]["field"] == f"body.columns.{field}"
    assert problem(await ada.patch(here, json={"title": " "})) == (422, "invalid")
    for answer in (await uma.get(f"{here}/content"), await uma.patch(here, json={"title": "x"})):
        assert problem(answer) == (403, "forbidden")
    assert problem(await ada.get(f"/assistants/travel/sources/{new_id()}/content")) == (404, "not-found")
    pairs = {"kind": "pairs", "title": "FAQ", "pairs": [{"question": "Where?", "answer": "Here."}]}
    faq = (await ada.post("/assistants/travel/sources", json=pairs)).json()["source"]
    refused = await ada.patch(f"/assistants/travel/sources/{faq['id']}", json={"columns": {}})
    assert refused.json()["errors"][0]["field"] == "body.columns"


async def test_admins_invite_users_end_their_logins_and_read_the_audit(
    program_of: Program, browser_of: Browser, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    ada, visitor = await program_of("admin", scopes=["admin"]), await browser_of(None)
    nina = (await ada.post("/users", json={"identifier": "nina"})).json()
    here, once = f"/users/{nina['id']}/invitations", {"Idempotency-Key": "invite"}
    invited = await ada.post(here, headers=once)
    assert invited.status_code == 201, invited.text
    link = urlsplit(invited.json()["link"])
    assert (await visitor.get(f"{link.path}?{link.query}")).status_code == 200
    assert problem(await ada.post(here, headers=once)) == (409, "made-already")
    async with layer.database.read() as connection:
        assert link.query.removeprefix("key=") not in str((await connection.execute(select(api_replies))).all())
    assert problem(await ada.post(f"/users/{new_id()}/invitations")) == (404, "not-found")
    await layer.set_disabled("nina", True)
    assert problem(await ada.post(here)) == (409, "conflict")
    await layer.see_login(people["user"].id, Login("token", utc_now(), utc_in(60), "Firefox"))
    assert (await ada.delete(f"/users/{people['user'].id}/logins")).status_code == 204
    with acting_as("uma"):
        assert not await layer.list_logins()
    first = (await ada.get("/audit", params={"actor": "ada", "limit": 2})).json()
    assert [(one["action"], one["owner_id"]) for one in first["data"]] == [
        ("end_logins", people["user"].id),
        ("invite_user", nina["id"]),
    ]
    rest = (await ada.get("/audit", params={"actor": "ada", "cursor": first["next_cursor"]})).json()["data"]
    assert "add_user" in {one["action"] for one in rest}
    for wrong in ({"cursor": "x"}, {"thread_id": "x"}, {"limit": 0}):
        assert problem(await ada.get("/audit", params=wrong)) == (422, "invalid")


async def test_a_reviewer_keeps_an_answer_for_longer(program_of: Program, layer: ChainlitLayer) -> None:
    await talk(layer, "uma", thumb=0)
    rita, ada = await program_of("reviewer", scopes=["reviews"]), await program_of("admin", scopes=["reviews"])
    await rita.post("/reviews/queue/fill", json={"percent": 0})
    taken = (await rita.post("/reviews/queue/next")).json()
    here = f"/reviews/answers/{taken['answer_id']}/lock"
    assert problem(await ada.put(here)) == (404, "not-found")
    assert (await rita.put(here)).status_code == 204
    (kept,) = (await rita.get("/reviews/queue")).json()["data"]
    assert json.dumps(kept) != json.dumps(taken), "its lock ends later"
    assert (await rita.delete(here)).status_code == 204
    assert problem(await rita.put(here)) == (404, "not-found")
