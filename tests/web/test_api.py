"""The API for programs: threads, messages, votes, files, search; keys, errors, repetitions."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from sqlalchemy import func, select

from datalayer import AssistantSettings, Limit, Project, Provider, StorageUnavailable, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.keys import KEY_SCOPES
from datalayer.records.usage import CallFilter
from datalayer.schema.chat import feedbacks
from datalayer.schema.keys import api_replies
from tests.contracts.test_elements import text_element
from tests.support.calls import call
from tests.support.model_server import ModelServer
from tests.support.pages import read_page
from tests.support.patience import until
from tests.support.records import listed, new_id, step, thread
from tests.support.reviewing import talk
from tests.support.v1 import scripted
from tests.web.conftest import Browser, Program, problem
from threadkeeper.conversation.programs import Programs
from threadkeeper.conversation.session import Conversations
from threadkeeper.factories import open_model
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.settings.settings import load_settings
from threadkeeper.web.api import documentation, route

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ALIKE = ("content-type", "content-length", "content-disposition", "etag", "cache-control")
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture
async def model_server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def ask_thread(
    layer: ChainlitLayer, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Programs]:
    """The conversations of this process, with the scripted model server."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.base_url)
    monkeypatch.setenv(
        "OPENAI_MODELS", "echo,context-echo,slow:20:0.05,401,slow:3:0.01,hang:0,hang:3,length,others:images:alone"
    )
    settings = load_settings()
    conversations = Conversations(layer, open_model(settings, layer, []), settings)
    yield Programs(layer, conversations)
    await conversations.stop()


@pytest.fixture
def v1_parts(layer: ChainlitLayer, model_server: ModelServer) -> V1Parts:
    """At `/v1`, the same server answers, and the assistants."""
    return V1Parts(scripted(model_server, "echo"), layer, None, "Be brief.")


async def made(program: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await program.post("/threads", json=fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def asked(program: httpx.AsyncClient, thread_id: str, content: str, **fields: Any) -> httpx.Response:
    return await program.post(f"/threads/{thread_id}/messages", json={"content": content, **fields})


async def test_threads_are_pinned_archived_temporary_and_forked(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of()
    made = [(await program.post("/threads", json={"name": name, "tags": ["a"]})).json()["id"] for name in "xyz"]
    bare = await program.post("/threads")
    assert (bare.status_code, bare.json()["tags"]) == (201, [])
    assert (await program.delete(f"/threads/{bare.json()['id']}")).status_code == 204
    short = (await program.post("/threads", json={"is_temporary": True})).json()
    assert short["expires_at"] > utc_now()
    for thread_id, change in ((made[0], {"is_pinned": True}), (made[1], {"is_archived": True})):
        before = (await program.get(f"/threads/{thread_id}")).headers["etag"]
        changed = await program.patch(f"/threads/{thread_id}", json=change)
        assert changed.json() | change == changed.json()
        assert changed.headers["etag"] != before
    both = await program.patch(f"/threads/{made[0]}", json={"is_pinned": True, "is_archived": True})
    assert problem(both) == (422, "invalid")
    for query, expected in (
        ("", {*made, short["id"]}),
        ("?pinned=true", {made[0]}),
        ("?archived=true", {made[1]}),
        ("?archived=false&tag=a", {made[0], made[2]}),
        ("?tag=b", set()),
    ):
        assert {one["id"] for one in (await program.get(f"/threads{query}")).json()["data"]} == expected, query
    said = step(made[0], "Where to?")
    await layer.create_step(said)
    address = f"/threads/{made[0]}/fork"
    forked = await program.post(address, json={"message_id": said["id"]})
    assert forked.status_code == 201
    assert forked.json()["metadata"] == {"forked_from": {"thread": made[0], "step": said["id"]}}
    for wrong in (new_id(), "no id"):
        assert problem(await program.post(address, json={"message_id": wrong})) == (422, "invalid")


async def test_prompts_are_kept_changed_and_deleted(program_of: Program) -> None:
    program = await program_of()
    made = (await program.post("/prompts", json={"name": "short", "text": "Be short."})).json()
    assert (made["name"], made["text"], made["owner"], made["is_shared"]) == ("short", "Be short.", "uma", False)
    assert problem(await program.post("/prompts", json={"name": "short", "text": "x"})) == (409, "exists")
    for name in ("a b", "Temporary", "临时"):
        assert problem(await program.post("/prompts", json={"name": name, "text": "x"})) == (422, "invalid")
    shared = await program.post("/prompts", json={"name": "all", "text": "x", "is_shared": True})
    assert shared.status_code == 403
    changed = (await program.put(f"/prompts/{made['id']}", json={"name": "brief", "text": "Be brief."})).json()
    assert (await program.get("/prompts")).json() == {"data": [changed]}
    once = {"Idempotency-Key": "prompt-1"}
    first, again = [await program.post("/prompts", json={"name": "once", "text": "x"}, headers=once) for _ in range(2)]
    assert (again.status_code, again.json()) == (201, first.json()), "it is not made twice"
    assert (await program.delete(f"/prompts/{first.json()['id']}")).status_code == 204
    for wrong in (new_id(), "no-id"):
        assert (await program.put(f"/prompts/{wrong}", json={"name": "x", "text": "y"})).status_code == 404
        assert (await program.delete(f"/prompts/{wrong}")).status_code == 404
    assert (await program.delete(f"/prompts/{made['id']}")).status_code == 204
    assert (await program.get("/prompts")).json() == {"data": []}


async def test_a_thread_is_made_read_changed_listed_and_deleted(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    program = await program_of()
    answer = await program.post("/threads", json={"name": "One", "metadata": {"ticket": 7}, "tags": ["a"]})
    assert answer.status_code == 201
    one = answer.json()
    assert answer.headers["location"] == f"/api/v1/threads/{one['id']}"
    assert (one["name"], one["metadata"], one["tags"], one["assistant"]) == ("One", {"ticket": 7}, ["a"], None)
    address = f"/threads/{one['id']}"
    read = await program.get(address)
    assert read.json() == one
    assert one["updated_at"] >= one["created_at"] > "2026"
    etag = read.headers["etag"] = answer.headers["etag"]

    changed = await program.patch(address, json={"name": "Two", "metadata": {"ticket": None, "x": [1]}},
                                  headers={"If-Match": etag})  # fmt: skip
    assert (changed.json()["name"], changed.json()["metadata"], changed.json()["tags"]) == ("Two", {"x": [1]}, ["a"])
    assert changed.headers["etag"] != etag
    late = await program.patch(address, json={"name": "Three"}, headers={"If-Match": etag})
    assert problem(late) == (412, "changed")
    assert (await program.delete(address, headers={"If-Match": etag})).status_code == 412
    now = changed.headers["etag"]
    for held, status in (
        ([("If-Match", f"W/{now}")], 412),
        ([("If-Match", f'"a,b", {now}')], 200),
        ([("If-Match", '"a"'), ("If-Match", f'{now}, "b"')], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", "a")], 412),
    ):
        again = await program.patch(address, json={"name": "Two"}, headers=held)
        assert again.status_code == status, held
    large = {"metadata": {"y": "z" * 9_000}}
    assert (await program.patch(address, json=large)).status_code == 200
    grown = await program.patch(address, json={"metadata": {"more": "z" * 9_000}})
    assert (problem(grown), grown.json()["errors"][0]["field"]) == ((422, "invalid"), "body.metadata")
    assert (await program.patch(address, json={"metadata": {"y": None}})).json()["metadata"] == {"x": [1]}

    shared = await program.put(f"{address}/share")
    assert (shared.json()["is_shared"], shared.json()["metadata"]) == (True, {"x": [1]})
    with acting_as("rita"):
        assert await layer.get_thread(one["id"]) is not None, "as a thread that is shared in the chat"
    assert (await program.delete(f"{address}/share")).status_code == 204
    with acting_as("rita"):
        assert await layer.get_thread(one["id"]) is None

    for number in range(4):
        await made(program, name=f"More {number}")
    first = (await program.get("/threads", params={"limit": 3})).json()
    rest = (await program.get("/threads", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [len(first["data"]), len(rest["data"]), rest["next_cursor"]] == [3, 2, None]
    names = [found["name"] for found in first["data"] + rest["data"]]
    assert sorted(names) == ["More 0", "More 1", "More 2", "More 3", "Two"]

    deleted = await program.delete(address)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert problem(await program.get(address)) == (404, "not-found")
    with acting_as("uma"):
        assert len(await listed(layer, people["user"].id)) == 4


async def test_of_two_programs_that_change_a_thread_at_once_one_is_refused(program_of: Program) -> None:
    one, other = await program_of(), await program_of()
    thread_id = (await made(one, name="Before"))["id"]
    etag = {"If-Match": (await one.get(f"/threads/{thread_id}")).headers["etag"]}
    answers = await asyncio.gather(
        *(program.patch(f"/threads/{thread_id}", json={"name": name}, headers=etag)
          for program, name in ((one, "A"), (other, "B"), (one, "C"), (other, "D")))
    )  # fmt: skip
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert problem(next(answer for answer in answers if answer.status_code == 412)) == (412, "changed")


async def test_a_question_is_answered_as_in_the_chat(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User], model_server: ModelServer
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    turn = (await asked(program, thread_id, "Hello there")).json()
    assert (turn["question"]["content"], turn["question"]["role"]) == ("Hello there", "user")
    answer = turn["answer"]
    assert (answer["content"], answer["role"], answer["status"], answer["model"]) == (
        "You said: Hello there", "assistant", "complete", "echo",
    )  # fmt: skip
    assert answer["usage"]["completion_tokens"] > 0
    again = (await asked(program, thread_id, "And then?", model="context-echo")).json()
    sent = json.loads(again["answer"]["content"])
    assert [one["content"] for one in sent[1:]] == ["Hello there", "You said: Hello there", "And then?"]
    found = (await program.get(f"/threads/{thread_id}/messages", params={"limit": 3})).json()
    assert [one["content"] for one in found["data"]][:2] == ["Hello there", "You said: Hello there"]
    rest = (await program.get(f"/threads/{thread_id}/messages", params={"cursor": found["next_cursor"]})).json()
    assert [one["id"] for one in rest["data"]] == [again["answer"]["id"]]
    assert rest["next_cursor"] is None

    with acting_as("uma"):
        stored = await layer.get_thread(thread_id)
        (key,) = await layer.list_api_keys()
    kinds = [(one["type"], one["name"]) for one in stored["steps"]][:3]
    assert kinds == [("user_message", "uma"), ("run", "on_message"), ("assistant_message", "Assistant")]
    calls = [row.call for row in (await layer.list_calls(CallFilter(kinds=("chat",)))).rows]
    assert {(call.key_id, call.user_id, call.thread_id) for call in calls} == {(key.id, people["user"].id, thread_id)}
    assert len(calls) == 2


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_an_answer_is_streamed_as_it_is_written(program_of: Program) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    body = {"content": "Go", "model": "slow:20:0.05", "stream": True}
    async with program.stream("POST", f"/threads/{thread_id}/messages", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        pieces = [piece async for piece in answer.aiter_text()]
    found = events("".join(pieces))
    assert found[0][0] == "question"
    texts = [data["text"] for name, data in found if name == "text"]
    name, turn = found[-1]
    assert name == "turn"
    assert "".join(texts) == turn["answer"]["content"] == "".join(f"word-{n} " for n in range(1, 21))
    assert turn["question"]["id"] == found[0][1]["id"]
    # This model never ends its answer.
    body = {"content": "Go", "model": "hang:3", "stream": True}
    async with program.stream("POST", f"/threads/{thread_id}/messages", json=body) as answer:
        async for piece in answer.aiter_text():
            if "word-1" in piece:
                break


async def test_an_answer_is_written_to_its_end_if_the_program_goes_away(
    program_of: Program, model_server: ModelServer
) -> None:
    program, answer_now = await program_of(), model_server.hold_answers()
    thread_id = (await made(program))["id"]
    body = {"content": "Go", "model": "slow:20:0.05", "stream": True}
    async with program.stream("POST", f"/threads/{thread_id}/messages", json=body) as answer:
        pieces = answer.aiter_text()
        assert "event: question" in await anext(pieces)
        busy = await asked(program, thread_id, "Another")
        assert problem(busy) == (409, "busy")
        assert busy.headers["retry-after"] == "1"
        answer_now.set()
        async for piece in pieces:
            if "event: text" in piece:
                break
    async with asyncio.timeout(60):
        while True:
            found = (await program.get(f"/threads/{thread_id}/messages")).json()["data"]
            if found[-1]["status"] == "complete":
                break
            await asyncio.sleep(0.05)
    assert found[-1]["content"].endswith("word-20 ")


async def test_a_failure_is_a_problem_and_stays_in_the_thread(program_of: Program) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    failed = await asked(program, thread_id, "Go", model="401")
    assert problem(failed)[0] == 502
    assert problem(failed)[1].startswith("answer-")
    found = (await program.get(f"/threads/{thread_id}/messages")).json()["data"]
    assert [(one["role"], one["is_error"]) for one in found] == [("user", False), ("assistant", True)]
    assert found[1]["content"] == failed.json()["detail"]
    streamed = await asked(program, thread_id, "Go", model="401", stream=True)
    assert events(streamed.text)[-1][0] == "problem"


async def test_a_limit_of_a_key_stops_that_key_alone(program_of: Program, layer: ChainlitLayer) -> None:
    program, other = await program_of(), await program_of()
    with acting_as("uma"):
        keys = {key.prefix: key for key in await layer.list_api_keys()}
    key = keys[program.headers["x-api-key"][:10]]
    await layer.put_limit(Limit(new_id(), "key", key.id, "day", "tokens", Decimal(1)))
    thread_id = (await made(program))["id"]
    assert (await asked(other, thread_id, "Go")).status_code == 200
    assert problem(await asked(program, thread_id, "Go")) == (429, "answer-over-limit")


async def test_the_tokens_of_a_key_are_limited_a_minute(program_of: Program) -> None:
    program = await program_of(tokens_per_minute=10)
    thread_id = (await made(program))["id"]
    assert (await asked(program, thread_id, "Go")).status_code == 200, "at rest"
    over = await asked(program, thread_id, "Go")
    assert problem(over) == (429, "rate-exceeded")
    assert int(over.headers["retry-after"]) > 60, "the first answer took more than a minute's tokens"
    assert (await program.get(f"/threads/{thread_id}")).status_code == 200


async def test_the_project_of_a_key_pays(program_of: Program, layer: ChainlitLayer) -> None:
    project = await layer.put_project(Project(new_id(), "Research", "research", owner="uma"))
    program = await program_of(project="research")
    assert (await asked(program, (await made(program))["id"], "Go")).status_code == 200
    (call,) = [row.call for row in (await layer.list_calls(CallFilter(kinds=("chat",)))).rows]
    assert call.project_id == project.id


async def test_a_key_uses_its_models_alone(program_of: Program) -> None:
    program = await program_of(models=["context-echo"])
    thread_id = (await made(program))["id"]
    assert problem(await asked(program, thread_id, "Go")) == (403, "model-not-allowed")
    assert (await asked(program, thread_id, "Go", model="context-echo")).status_code == 200


async def test_an_assistant_that_a_key_allows_does_not_allow_other_models(
    program_of: Program, layer: ChainlitLayer
) -> None:
    assistant = await layer.create_assistant(AssistantSettings("Travel"), owner="uma")
    program = await program_of(models=[f"assistant:{assistant.slug}"])
    thread_id = (await made(program, assistant=assistant.slug))["id"]
    assert problem(await asked(program, thread_id, "Go", model="context-echo")) == (403, "model-not-allowed")
    assert (await asked(program, thread_id, "Go")).status_code == 200
    without = (await made(program))["id"]
    assert problem(await asked(program, without, "Go")) == (403, "model-not-allowed")
    # Its title would be made by a model that the key does not allow, at its cost.
    await until(lambda: not any("give_title" in task.get_name() for task in asyncio.all_tasks()))
    assert {row.call.kind for row in (await layer.list_calls(CallFilter())).rows} == {"chat"}


async def test_a_thread_is_named_after_a_part_of_a_long_question(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of(models=["echo"])
    thread_id = (await made(program))["id"]
    assert (await asked(program, thread_id, "word " * 1_000)).status_code == 200
    with acting_as("uma"):
        found = await layer.get_thread(thread_id)
    assert 0 < len(found["name"]) <= 1_000


async def test_a_picture_is_an_answer(program_of: Program) -> None:
    program = await program_of()
    answer = await asked(program, (await made(program))["id"], "Draw", model="others:images:alone")
    assert answer.status_code == 200, answer.text
    assert answer.json()["answer"]["status"] == "complete"


async def test_a_turn_of_a_program_waits_for_none_of_another_process(
    program_of: Program, layer: ChainlitLayer, ask_thread: Programs
) -> None:
    program = await program_of()
    thread_id, holder = (await made(program))["id"], new_id()
    assert await layer.claim_turn(thread_id, holder, 60)
    assert problem(await asked(program, thread_id, "Go")) == (409, "busy")
    await layer.release_turn(holder)
    assert (await asked(program, thread_id, "Go")).status_code == 200
    # Released at the end of the turn.
    await until(lambda: is_free(layer, thread_id))


async def is_free(layer: ChainlitLayer, thread_id: str) -> bool:
    """Whether the thread can be claimed."""
    holder = new_id()
    claimed = await layer.claim_turn(thread_id, holder, 60)
    await layer.release_turn(holder)
    return claimed


async def test_the_tokens_of_a_stopped_answer_count(
    program_of: Program, layer: ChainlitLayer, ask_thread: Programs
) -> None:
    await program_of(tokens_per_minute=10)
    with acting_as("uma"):
        (key,) = await layer.list_api_keys()
        user = await layer.get_user("uma")
        assert user is not None
        thread_id = await thread(layer, user.id)
        turn = await ask_thread(thread_id, "Go", model="slow:20:0.05", key=key)
        async for event in turn.events():
            if event.kind == "text":
                break
        turn.stop()
        assert (await turn.result()).was_stopped
    over = await layer.take_rate(key.id, "tokens", 1, 10)
    assert not over.allowed


async def test_what_no_route_takes_is_a_problem(program_of: Program) -> None:
    program = await program_of()
    root = str(program.base_url).removesuffix("/api/v1/")
    for method, path, found in (
        ("DELETE", "/api/v1/search", (405, "method-not-allowed")),
        ("PUT", "/interactions/", (405, "method-not-allowed")),
        ("GET", "/api/v1/nowhere", (404, "not-found")),
        ("GET", "/interactions/nowhere", (404, "not-found")),
        # No page of the chat.
        ("GET", "/api/v1", (404, "not-found")),
        ("GET", "/api/v2/threads", (404, "not-found")),
    ):
        answer = await program.request(method, root + path)
        assert problem(answer) == found, path
        assert ("allow" in answer.headers) is (found[0] == 405)
    several = await program.request("PUT", f"/threads/{new_id()}")
    assert (several.status_code, several.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")


async def test_head_is_answered_as_get_without_the_body(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of("admin")
    thread_id = (await made(program, name="mine"))["id"]
    file = await program.post(f"/threads/{thread_id}/elements", params={"name": "a.md"}, content=b"x" * 500_000)
    content = f"/threads/{thread_id}/elements/{file.json()['id']}/content"
    for path in (f"/threads/{thread_id}", "/threads", content, "/export", "/docs", "/threads?tags=x", "/me", "/stop"):
        plain = {"accept-encoding": "identity"}
        whole, head = [await program.request(one, path, headers=plain) for one in ("GET", "HEAD")]
        for name in ALIKE:
            assert head.headers.get(name) == whole.headers.get(name), (path, name)
        assert head.status_code == whole.status_code, path
        assert (head.content, bool(whole.content)) == (b"", True), path
    nobody = await program.head("/threads", headers={"x-api-key": "tk_wrong"})
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    only_post = await program.head(f"/threads/{thread_id}/stop")
    assert (only_post.status_code, only_post.headers["allow"]) == (405, "POST")
    interactions = await program.head(str(program.base_url).removesuffix("/api/v1/") + "/interactions/")
    assert interactions.status_code == 200


async def test_a_request_without_the_scope_counts_in_the_rate(program_of: Program) -> None:
    program = await program_of(scopes=["threads:read"], requests_per_minute=1)
    assert problem(await program.post("/threads", json={})) == (403, "scope-missing")
    assert problem(await program.post("/threads", json={})) == (429, "rate-exceeded")


async def test_nobody_reaches_the_threads_of_others(program_of: Program, layer: ChainlitLayer) -> None:
    mine, other = await program_of("user"), await program_of("admin")
    thread_id = (await made(mine, name="mine"))["id"]
    turn = (await asked(mine, thread_id, "secret")).json()
    message = f"/threads/{thread_id}/messages/{turn['answer']['id']}/feedback"
    with acting_as("uma"):
        await layer.update_thread(thread_id, metadata={"is_shared": True})
    for answer in (
        await other.get(f"/threads/{thread_id}"),
        await other.patch(f"/threads/{thread_id}", json={"name": "x"}),
        await other.delete(f"/threads/{thread_id}"),
        await other.get(f"/threads/{thread_id}/messages"),
        await asked(other, thread_id, "x"),
        await other.put(message, json={"value": "up"}),
        await other.get(f"/threads/{thread_id}/elements"),
        await other.get(f"/threads/{thread_id}/elements/{new_id()}/content"),
    ):
        assert problem(answer) == (404, "not-found")
    assert (await other.get("/threads")).json()["data"] == []
    assert (await other.get("/search", params={"q": "secret"})).json()["data"] == []
    assert (await mine.get(f"/threads/{thread_id}")).json()["name"]


async def test_a_scope_allows_its_own_requests_alone(program_of: Program) -> None:
    reads, writes = await program_of(scopes=["threads:read"]), await program_of(scopes=["threads:write"])
    thread_id = (await made(writes))["id"]
    assert problem(await reads.post("/threads", json={})) == (403, "scope-missing")
    assert problem(await asked(reads, thread_id, "x")) == (403, "scope-missing")
    assert problem(await writes.get("/threads")) == (403, "scope-missing")
    assert (await reads.get(f"/threads/{thread_id}")).status_code == 200


async def test_a_revoked_key_and_a_missing_one_are_refused(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of()
    with acting_as("uma"):
        (key,) = await layer.list_api_keys()
        await layer.revoke_api_key(key.id)
    revoked = await program.get("/threads")
    assert problem(revoked) == (401, "key-invalid")
    assert revoked.headers["www-authenticate"] == "Bearer"
    del program.headers["x-api-key"]
    assert problem(await program.get("/threads")) == (401, "key-missing")
    # Nor does it learn the parameters of a route.
    assert problem(await program.get("/threads", params={"nope": "x"})) == (401, "key-missing")
    broken = await program.post("/threads", content=b"{", headers={"content-type": "application/json"})
    assert problem(broken) == (401, "key-missing")
    # The body is not waited for.
    place = program.base_url
    reader, writer = await asyncio.open_connection(place.host, place.port)
    writer.write(b"POST /api/v1/threads HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).split()[1] == b"401"
    writer.close()
    program.headers["authorization"] = "Bearer tk_wrong"
    assert problem(await program.get("/threads")) == (401, "key-invalid")
    assert problem(await program.get("/nowhere")) == (404, "not-found")


async def test_a_login_reads_from_our_own_pages_alone(
    browser_of: Browser, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    uma, own = await browser_of("user"), {"Sec-Fetch-Site": "same-origin"}
    await thread(layer, people["user"].id, "Mine")
    await thread(layer, people["admin"].id, "Another user's")
    read = await uma.get("/api/v1/threads", headers=own)
    assert [one["name"] for one in read.json()["data"]] == ["Mine"]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {}):
        assert problem(await uma.get("/api/v1/threads", headers=headers)) == (401, "key-missing")
    assert problem(await uma.post("/api/v1/threads", json={}, headers=own)) == (401, "key-missing")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nam": "x"}, "body.nam"),
        ({"name": 7}, "body.name"),
        ({"name": "x" * 1_001}, "body.name"),
        ({"tags": [""]}, "body.tags.0"),
        ({"metadata": {"is_shared": True}}, "body.metadata.is_shared"),
        ({"metadata": {"x": "y" * 20_000}}, "body.metadata"),
        ({"assistant": "nobody"}, "body.assistant"),
    ],
)
async def test_a_problem_names_the_field(program_of: Program, body: dict[str, Any], field: str) -> None:
    answer = await (await program_of()).post("/threads", json=body)
    assert problem(answer) == (422, "invalid")
    assert field in [one["field"] for one in answer.json()["errors"]]


async def test_other_bad_requests_are_problems(program_of: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    json_type = {"content-type": "application/json"}
    broken = await program.post("/threads", content=b'{"name":', headers=json_type)
    assert problem(broken) == (422, "invalid")
    assert broken.json()["errors"] == [
        {"field": "body", "detail": "it is no JSON, from character 8 on: Expecting value"}
    ]
    # As curl sends it without a header.
    form = await program.post("/threads", content=b"{}", headers={"content-type": "application/x-www-form-urlencoded"})
    assert problem(form) == (422, "invalid")
    assert "Content-Type: application/json" in form.json()["detail"]
    for number in (b"NaN", b"1e400"):
        odd = await program.post("/threads", content=b'{"metadata": {"n": [%s]}}' % number, headers=json_type)
        assert (problem(odd), odd.json()["errors"][0]["field"]) == ((422, "invalid"), "body.metadata")
    assert problem(await program.get("/threads", params={"limit": 0})) == (422, "invalid")
    for path in ("/threads", "/search?q=x"):
        unknown = await program.get(path, params={**dict(httpx.URL(path).params), "cursor": "x"})
        assert problem(unknown) == (422, "invalid")
        assert [one["field"] for one in unknown.json()["errors"]] == ["query.cursor"]
    many = await program.post("/threads", json={f"{'x' * 1_000}{number}": 1 for number in range(500)})
    assert problem(many) == (422, "invalid")
    assert (len(many.json()["errors"]), len(many.content) < 20_000) == (20, True)
    assert "and 480 more" in many.json()["detail"]
    await made(program)
    foreign = (await program.get("/threads", params={"limit": 1})).json()["next_cursor"]
    for path in (f"/threads/{thread_id}/messages", "/favorites"):
        for cursor in ("x", foreign):
            broken = await program.get(path, params={"cursor": cursor})
            assert (problem(broken), broken.json()["errors"][0]["field"]) == ((422, "invalid"), "query.cursor")
    as_json = {"Content-Type": "application/json"}
    deep, large = (
        b'{"metadata": {"x": ' + b"[" * 90_000 + b"]" * 90_000 + b"}}",
        b'{"metadata": {"x": 1' + b"0" * 9_000 + b"}}",
    )
    for body in (b'{"name": "\xe9"}', gzip.compress(b'{"name": "x"}'), deep, large):
        unread = await program.post("/threads", content=body, headers=as_json)
        assert (problem(unread), unread.json()["errors"][0]["field"]) == ((422, "invalid"), "body")
    nested = await program.post(
        "/threads", content=b'{"metadata": {"x": ' + b"[" * 300 + b"]" * 300 + b"}}", headers=as_json
    )
    assert (problem(nested), nested.json()["errors"][0]["field"]) == ((422, "invalid"), "body.metadata")
    assert problem(await asked(program, thread_id, "  ")) == (422, "invalid")
    unknown = await program.post(f"/threads/{thread_id}/messages", json={"content": "Hi", "model": "none-such"})
    assert (problem(unknown), unknown.json()["errors"][0]["field"]) == ((422, "invalid"), "body.model")
    assert problem(await program.get("/search", params={"q": " "})) == (422, "invalid")
    assert problem(await program.post("/threads", json={"metadata": {"interaction": {"model": 7}}})) == (422, "invalid")
    assert problem(await program.get("/threads/none")) == (404, "not-found")
    monkeypatch.setattr(route, "LARGEST_BODY", 100)
    assert problem(await asked(program, thread_id, "x" * 200)) == (413, "too-large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 20

    assert problem(await program.post("/threads", content=chunks(), headers=json_type)) == (413, "too-large")


async def test_a_repetition_gets_the_first_answer(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User], model_server: ModelServer
) -> None:
    program = await program_of()
    once = {"Idempotency-Key": "order-1"}
    first, again = [await program.post("/threads", json={"name": "Once"}, headers=once) for _ in range(2)]
    assert (again.status_code, again.json(), again.headers["location"]) == (
        201,
        first.json(),
        first.headers["location"],
    )
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = await program.post("/threads", json={"name": "Other"}, headers=once)
    assert problem(other) == (422, "invalid")
    assert other.json()["errors"][0]["field"] == "header.idempotency-key"
    assert (await (await program_of("admin")).post("/threads", json={"name": "Hers"}, headers=once)).status_code == 201

    thread_id, body, answer_now = first.json()["id"], {"content": "Go"}, model_server.hold_answers()
    address, once = f"/threads/{thread_id}/messages", {"Idempotency-Key": "order-2"}
    running = asyncio.create_task(program.post(address, json=body, headers=once))
    await until(lambda: model_server.requests)
    meanwhile = await program.post(address, json=body, headers=once)
    assert problem(meanwhile) == (409, "in-progress")
    answer_now.set()
    turn = await running
    assert (await program.post(address, json=body, headers=once)).json() == turn.json()

    once = {"Idempotency-Key": "order-3"}
    stream = {"content": "Go", "stream": True}
    streamed = await program.post(address, json=stream, headers=once)
    async with asyncio.timeout(60):
        while (
            replayed := await program.post(address, json={"content": "Go", "stream": True}, headers=once)
        ).status_code == 409:
            await asyncio.sleep(0.05)
    assert replayed.text == streamed.text
    assert replayed.headers["content-type"].startswith("text/event-stream")
    assert len((await program.get(address)).json()["data"]) == 4, "two questions, two answers"

    once = {"Idempotency-Key": "order-4"}
    assert (await program.post("/threads", json={"nam": "x"}, headers=once)).status_code == 422
    assert (await program.post("/threads", json={"name": "mended"}, headers=once)).status_code == 201, (
        "nothing was done"
    )
    with acting_as("uma"):
        await layer.delete_thread(thread_id)
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(api_replies))).scalar() == 2


async def test_the_rate_of_a_key_is_told(program_of: Program) -> None:
    program = await program_of(requests_per_minute=2)
    first = await program.get("/threads")
    assert first.headers["ratelimit-policy"] == '"requests";q=2;w=60'
    assert re.fullmatch(r'"requests";r=1;t=\d+', first.headers["ratelimit"])
    assert (await program.get("/threads")).headers["ratelimit"].startswith('"requests";r=0')
    over = await program.get("/threads")
    assert problem(over) == (429, "rate-exceeded")
    assert int(over.headers["retry-after"]) >= 1
    assert over.headers["ratelimit"].startswith('"requests";r=0')
    assert "ratelimit" not in (await (await program_of()).get("/threads")).headers


async def test_an_answer_is_voted_on(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    turn = (await asked(program, thread_id, "Hello")).json()
    address = f"/threads/{thread_id}/messages/{turn['answer']['id']}/feedback"
    voted = await program.put(address, json={"value": "down", "comment": "wrong", "reasons": ["incorrect"]})
    assert voted.status_code == 200, voted.text
    replaced = await program.put(address, json={"value": "down"})
    assert replaced.json()["feedback"]["comment"] is None
    async with layer.database.read() as connection:
        assert (await connection.execute(select(feedbacks.c.reasons))).scalar() == []
    voted = await program.put(address, json={"value": "down", "comment": "wrong", "reasons": ["incorrect"]})
    given = voted.json()["feedback"]
    assert (given["value"], given["comment"], given["reasons"]) == ("down", "wrong", ["incorrect"])
    # Who changes the comment alone sends the reasons again.
    await program.put(f"/threads/{thread_id}/messages/{turn['answer']['id']}/favorite")
    for path in (f"/threads/{thread_id}/messages", "/favorites"):
        last = (await program.get(path)).json()["data"][-1]
        assert last.get("message", last)["feedback"] == given, path
    for body in ({"value": "down", "reasons": ["ugly"]}, {"value": "up", "reasons": ["incorrect"]}, {"value": "so-so"}):
        assert problem(await program.put(address, json=body)) == (422, "invalid")
    of_question = address.replace(turn["answer"]["id"], turn["question"]["id"])
    assert problem(await program.put(of_question, json={"value": "up"})) == (404, "not-found")
    assert (await program.delete(address)).status_code == 204
    assert problem(await program.delete(address)) == (404, "not-found")


async def test_files_are_listed_and_downloaded_and_words_found(
    program_of: Program, layer: ChainlitLayer, people: dict[str, User]
) -> None:
    program = await program_of()
    with acting_as("uma"):
        thread_id = await thread(layer, people["user"].id, "With a file")
        written = step(thread_id, "the quick brown fox")
        await layer.create_step(written)
        element = text_element(thread_id, written["id"], "<script>content</script>")
        await layer.create_element(element)
    (found,) = (await program.get(f"/threads/{thread_id}/elements")).json()["data"]
    assert (found["id"], found["message_id"], found["has_file"]) == (element.id, written["id"], True)
    file = await program.get(f"/threads/{thread_id}/elements/{element.id}/content")
    assert file.text == "<script>content</script>"
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["content-type"] == "application/octet-stream"
    missing = await program.get(f"/threads/{thread_id}/elements/{new_id()}/content")
    assert problem(missing) == (404, "not-found")
    (hit,) = (await program.get("/search", params={"q": "brown qui"})).json()["data"]
    assert (hit["thread"]["id"], "quick brown" in hit["excerpt"]) == (thread_id, True)
    nothing: dict[str, Any] = {"data": [], "next_cursor": None, "texts_left": 0}
    assert (await program.get("/search", params={"q": "nowhere"})).json() == nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.search_indexer, "own_left", AsyncMock(return_value=12_000))
        assert (await program.get("/search", params={"q": "nowhere"})).json() == nothing | {"texts_left": 12_000}


async def test_the_document_and_its_page_name_every_route(
    program_of: Program, browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, threads, root = await browser_of(None), [], f"/{new_id()}"
    # The tests of a process share the routes, and these keep the document of a root path.
    monkeypatch.setattr(documentation, "root_path", lambda: root)
    make = documentation.document_of

    def noted(*given: Any) -> dict[str, Any]:
        threads.append(threading.current_thread())
        return make(*given)

    monkeypatch.setattr(documentation, "document_of", noted)
    both = await asyncio.gather(*(visitor.get("/api/v1/openapi.json") for _ in range(2)))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread(), "it takes a second, for which no answer waits"
    document = both[1].json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": f"{root}/"}]
    assert "/api/v1/threads/{thread_id}/messages" in document["paths"]
    for path, operations in document["paths"].items():
        named = {one["name"] for one in operations.get("post", {}).get("parameters", ())}
        assert "post" not in operations or "idempotency-key" in named, path
        for operation in operations.values():
            errors = [one for status, one in operation["responses"].items() if int(status) >= 400]
            assert {*map(str, (401, 403, 404, 413, 422, 429, 503))} <= operation["responses"].keys()
            assert all(list(one["content"]) == ["application/problem+json"] for one in errors)
    text = json.dumps(document)
    for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert name in document["components"]["schemas"]
    page = await visitor.get("/api/v1/docs")
    assert page.status_code == 200
    shown = read_page(page.text)
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in shown.text
    assert not re.search(r"https?://", page.text.replace("http://www.w3.org", "")), "nothing from other hosts"
    assert problem(await visitor.get("/api/v1/docs/none")) == (404, "not-found")


async def test_an_interaction_keeps_its_settings_and_the_whole_conversation(
    program_of: Program, layer: ChainlitLayer
) -> None:
    program = await program_of()
    program.base_url = httpx.URL(str(program.base_url).replace("/api/v1", ""))
    # Without a body, and without the last slash.
    (empty,) = (await program.post("/interactions")).json()["data"]
    assert (await program.get(f"/interactions/{empty['id']}/messages")).json() == {"data": []}
    settings = {"model": "context-echo", "role": "System", "prompt": "Speak like a sailor."}
    made_now = await program.post("/interactions/", json={"settings": settings})
    assert made_now.status_code == 201, made_now.text
    (one,) = made_now.json()["data"]
    assert (one["settings"], one["messages"]) == (settings, [])
    address = f"/interactions/{one['id']}/messages/"
    for content in ("Hello", "And again"):
        answer = await program.post(address, json={"content": content})
        assert answer.status_code == 201, answer.text
    question, said = answer.json()["data"]
    assert (question["role"], question["content"], said["role"]) == ("Human", "And again", "AI")
    sent = json.loads(said["content"])
    assert (sent[0]["role"], sent[0]["content"]) == ("system", "Speak like a sailor.")
    assert [found["content"] for found in sent][1::2] == ["Hello", "And again"]
    found = (await program.get("/interactions/")).json()["data"]
    assert [(found_one["id"], len(found_one["messages"])) for found_one in found] == [(one["id"], 4), (empty["id"], 0)]
    assert found[0]["updated_at"] > found[0]["created_at"]
    assert (await program.get(address)).json()["data"] == found[0]["messages"]
    # What another version or a page of the chat stored is cut or left out.
    odd = {"interaction": {"model": 7, "role": None}, "chat_settings": {"system_prompt": "x" * 30_000}}
    with acting_as("uma"):
        await layer.update_thread(empty["id"], metadata=odd)
    listed = {
        found_one["id"]: found_one["settings"] for found_one in (await program.get("/interactions/")).json()["data"]
    }
    assert listed[empty["id"]] == {"model": None, "role": "System", "prompt": "x" * 20_000}
    assert problem(await program.get("/interactions/1/messages/")) == (422, "invalid")
    unknown = f"/interactions/{new_id()}/messages/"
    assert problem(await program.get(unknown)) == (404, "not-found")
    assert problem(await program.post(unknown, json={"content": "x"})) == (404, "not-found")
    other = {"settings": {"model": "of somebody else"}}
    assert problem(await program.post("/interactions/", json=other)) == (422, "invalid")
    assert len((await program.get("/interactions/")).json()["data"]) == 2, "nothing was left behind"
    (failing,) = (await program.post("/interactions/", json={"settings": {"model": "401"}})).json()["data"]
    failed = await program.post(f"/interactions/{failing['id']}/messages/", json={"content": "x"})
    assert problem(failed)[0] == 502
    visible = (await program.get(f"/interactions/{failing['id']}/messages/")).json()["data"]
    assert [(message["role"], message["is_error"]) for message in visible] == [("Human", False), ("AI", True)]


async def test_an_answer_to_an_interaction_is_forgotten_with_its_thread(
    program_of: Program, layer: ChainlitLayer
) -> None:
    program = await program_of()
    program.base_url = httpx.URL(str(program.base_url).replace("/api/v1", ""))
    (one,) = (await program.post("/interactions/", json={}, headers={"Idempotency-Key": "a"})).json()["data"]
    address, once = f"/interactions/{one['id']}/messages/", {"Idempotency-Key": "b"}
    assert (await program.post(address, json={"content": "Hello"}, headers=once)).status_code == 201
    with acting_as("uma"):
        await layer.delete_thread(one["id"])
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(api_replies))).scalar() == 0
    assert problem(await program.post(address, json={"content": "Hello"}, headers=once))[0] == 404


async def test_a_failure_after_the_question_is_stored_is_not_asked_again(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]

    async def away(_thread_id: str) -> None:
        raise StorageUnavailable("the database is away")

    once = {"Idempotency-Key": "a"}
    address, body = f"/threads/{thread_id}/messages", {"content": "Hello"}
    with monkeypatch.context() as patch:
        patch.setattr(layer, "settled", away)
        assert (await program.post(address, json=body, headers=once)).status_code == 503
    again = await program.post(address, json=body, headers=once)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (503, "true")
    questions = [one for one in (await program.get(address)).json()["data"] if one["role"] == "user"]
    assert len(questions) == 1


async def test_the_examples_of_the_documentation_run(
    program_of: Program,
    layer: ChainlitLayer,
    people: dict[str, User],
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_KEY", "sk-of-the-provider")
    program = await program_of("admin", scopes=KEY_SCOPES)
    openai = Provider("OpenAI", "openai", f"{model_server.root}/v1", secret="LAB_KEY")
    lab = await layer.put_project(Project(new_id(), "The lab", "lab", owner="ada", providers=(openai,)))
    when, cost = "2026-03-03T09:00:00.000000Z", Decimal("0.01")
    night = call(when, project_id=lab.id, tags=("night", "batch"), prompt_tokens=1, total_cost=cost)
    await layer.record_call(night)
    await talk(layer, "uma", thumb=0)
    examples = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL))
    base = str(program.base_url).removesuffix("/api/v1/")
    values = {"THREADKEEPER_URL": base, "THREADKEEPER_KEY": program.headers["x-api-key"], "NO_PROXY": "*"}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", examples], env=os.environ | values, capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    assert said[:1] == ["You said: What is a data layer?"], done.stderr
    assert said[1:3] == ['You said: <file name="plan.md">', "Day one: the harbour."], done.stderr
    said = said[said.index("Which day is free?") + 1 :]
    assert said[0] == "new 0 of 0", done.stderr
    assert said[1:3] == [f"{when} openai gpt-x 0.01", "['0', '0.01', '0', '0', '0', '0', '0']"], done.stderr
    assert said[3:] == [
        "1 preference pairs, 3 users",
        "You said: Hello",
        "You said: Hello",
        "['chat', 'batch']",
    ], done.stderr
    assert done.returncode == 0, done.stderr
