"""The API: an edited question, an answer that is written anew or continued, favourites, and what names a thread."""

import asyncio
import json

import httpx
import pytest

from datalayer import CallFilter, LlmCall, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.turns import turn_claims
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import new_id
from tests.web.conftest import Program, problem
from tests.web.test_api import (  # noqa: F401  the conversations with the scripted model server
    ask_thread,
    asked,
    events,
    made,
    model_server,
)
from threadkeeper.conversation import programs
from threadkeeper.conversation.programs import Programs

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def texts(program: httpx.AsyncClient, thread_id: str) -> list[str]:
    found = (await program.get(f"/threads/{thread_id}/messages")).json()["data"]
    return [one["content"] for one in found]


async def test_a_question_is_edited_and_answered_anew(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    first = (await asked(program, thread_id, "One")).json()
    await asked(program, thread_id, "Two")
    address = f"/threads/{thread_id}/messages/{first['question']['id']}/edit"
    answer = await program.post(address, json={"content": "Three"}, headers={"Idempotency-Key": "a"})
    assert answer.status_code == 200, answer.text
    turn = answer.json()
    assert (turn["question"]["id"], turn["answer"]["content"]) == (first["question"]["id"], "You said: Three")
    assert await texts(program, thread_id) == ["Three", "You said: Three"]
    again = await program.post(address, json={"content": "Three"}, headers={"Idempotency-Key": "a"})
    assert (again.json(), again.headers["idempotency-replayed"]) == (turn, "true")
    with acting_as("uma"):
        earlier = await layer.message_versions(thread_id)
    assert ("edited", "One") in {(one.change, one.output) for one in earlier}, "as after an edit on the page"

    streamed = await program.post(address, json={"content": "Four", "model": "context-echo", "stream": True})
    assert [name for name, _ in events(streamed.text)][::2][0] == "question"
    name, turn = events(streamed.text)[-1]
    assert (name, turn["answer"]["model"]) == ("turn", "context-echo")
    edits_answer = f"/threads/{thread_id}/messages/{turn['answer']['id']}/edit"
    assert problem(await program.post(edits_answer, json={"content": "x"})) == (404, "not-found")
    assert problem(await program.post(address, json={"content": " "})) == (422, "invalid")
    other = await program_of("admin")
    assert problem(await other.post(address, json={"content": "x"})) == (404, "not-found")


async def test_the_last_answer_is_written_anew(program_of: Program, model_server: ModelServer) -> None:  # noqa: F811
    program = await program_of()
    thread_id = (await made(program))["id"]
    first = (await asked(program, thread_id, "One")).json()
    last = (await asked(program, thread_id, "Two")).json()
    of = f"/threads/{thread_id}/messages"
    assert problem(await program.post(f"{of}/{first['answer']['id']}/regenerate", json={})) == (409, "too-late")
    assert problem(await program.post(f"{of}/{new_id()}/regenerate", json={})) == (404, "not-found")
    anew = (await program.post(f"{of}/{last['answer']['id']}/regenerate")).json()
    assert anew["question"] == last["question"]
    assert anew["answer"]["id"] != last["answer"]["id"]
    assert await texts(program, thread_id) == ["One", "You said: One", "Two", "You said: Two"]
    sent = model_server.requests[-1].body["messages"]
    assert [one["content"] for one in sent if one["role"] != "system"] == ["One", "You said: One", "Two"]

    # The question whose answer failed is asked again by its own id, with another model.
    failed = f"{of}/{last['question']['id']}/regenerate"
    assert problem(await program.post(failed, json={"model": "401"}))[0] == 502
    assert (await program.post(failed, json={"model": "echo"})).json()["answer"]["content"] == "You said: Two"
    assert problem(await program.post(failed, json={"model": "unknown"})) == (422, "invalid")


async def test_an_earlier_version_is_put_back(
    program_of: Program,
    model_server: ModelServer,  # noqa: F811
    layer: ChainlitLayer,
) -> None:
    program, other = await program_of(tokens_per_minute=1_000_000), await program_of("admin")
    thread_id = (await made(program))["id"]
    earliest = (await asked(program, thread_id, "Zero")).json()
    first = (await asked(program, thread_id, "One")).json()
    of = f"/threads/{thread_id}/messages/{first['question']['id']}"
    await program.put(f"/threads/{thread_id}/messages/{first['answer']['id']}/feedback", json={"value": "up"})
    (alone,) = (await program.get(f"{of}/versions")).json()["data"]
    assert (alone["number"], alone["is_current"], alone["answer"]) == (1, True, "You said: One")
    await program.post(f"{of}/edit", json={"content": "Two"})
    last = (await program.post(f"{of}/edit", json={"content": "Three", "model": "context-echo"})).json()
    listed = (await program.get(f"/threads/{thread_id}/messages/{last['answer']['id']}/versions")).json()["data"]
    assert [(one["number"], one["question"], one["is_current"]) for one in listed] == [
        (1, "One", False),
        (2, "Two", False),
        (3, "Three", True),
    ]
    page = (await program.get(f"{of}/versions", params={"limit": 2})).json()
    rest = (await program.get(f"{of}/versions", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert (page["data"] + rest["data"], rest["next_cursor"]) == (listed, None)

    requests, once = len(model_server.requests), {"Idempotency-Key": "back"}
    back = await program.post(f"{of}/versions/1/restore", headers=once)
    assert back.status_code == 200, back.text
    assert back.json()["answer"] | {"created_at": None} == first["answer"] | {
        "created_at": None,
        "feedback": back.json()["answer"]["feedback"],
    }
    assert back.json()["answer"]["feedback"]["value"] == "up"
    assert (await program.post(f"{of}/versions/1/restore", headers=once)).json() == back.json()
    assert (await program.post(f"{of}/versions/1/restore")).json()["answer"]["id"] == first["answer"]["id"]
    assert await texts(program, thread_id) == ["Zero", "You said: Zero", "One", "You said: One"]
    listed = (await program.get(f"{of}/versions")).json()["data"]
    assert [(one["question"], one["is_current"]) for one in listed] == [
        ("One", True),
        ("Two", False),
        ("Three", False),
    ], "nothing is lost"
    assert len(model_server.requests) == requests, "no model is asked"

    for number, status in ((4, 404), (0, 422)):
        assert problem(await program.post(f"{of}/versions/{number}/restore"))[0] == status
    await asked(program, thread_id, "Four")
    assert problem(await program.post(f"{of}/versions/2/restore")) == (409, "too-late")
    earlier = f"/threads/{thread_id}/messages/{earliest['question']['id']}/versions"
    assert len((await program.get(earlier)).json()["data"]) == 1
    for wrong in (f"/threads/{thread_id}/messages/{new_id()}", f"/threads/{new_id()}/messages/x"):
        assert problem(await program.get(f"{wrong}/versions")) == (404, "not-found")
        assert problem(await program.post(f"{wrong}/versions/1/restore")) == (404, "not-found")
    assert problem(await other.get(f"{of}/versions")) == (404, "not-found")
    assert problem(await other.post(f"{of}/versions/1/restore")) == (404, "not-found")


async def test_an_incomplete_answer_is_continued(program_of: Program) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    turn = (await asked(program, thread_id, "Go", model="length")).json()
    assert turn["answer"]["status"] == "length"
    address = f"/threads/{thread_id}/messages/{turn['answer']['id']}/continue"
    streamed = events((await program.post(address, json={"stream": True})).text)
    name, longer = streamed[-1]
    assert (name, longer["answer"]["id"]) == ("turn", turn["answer"]["id"])
    more = "".join(data["text"] for name, data in streamed if name == "text")
    assert more.startswith("You said: Your last answer was interrupted."), "what is appended comes alone"
    assert longer["answer"]["content"].startswith("You said: Go" + more)
    assert longer["answer"]["usage"]["completion_tokens"] > turn["answer"]["usage"]["completion_tokens"]
    whole = (await asked(program, thread_id, "Then?", model="echo")).json()["answer"]["id"]
    assert problem(await program.post(address, json={})) == (409, "too-late")
    complete = f"/threads/{thread_id}/messages/{whole}/continue"
    assert problem(await program.post(complete)) == (409, "too-late")


async def test_an_answer_in_progress_is_stopped_and_keeps_its_text(
    program_of: Program,
    layer: ChainlitLayer,
    model_server: ModelServer,  # noqa: F811
    ask_thread: Programs,  # noqa: F811
) -> None:
    program, other = await program_of(), await program_of("admin")
    thread_id = (await made(program))["id"]
    stop = f"/threads/{thread_id}/stop"
    assert (await program.post(stop)).json() == {"is_answering": False, "answer": None}, "nothing happens"
    assert problem(await other.post(stop)) == (404, "not-found")
    assert problem(await program.post(f"/threads/{new_id()}/stop")) == (404, "not-found")
    body, once = {"content": "Go", "model": "slow:20:0.05", "stream": True}, {"Idempotency-Key": "stop"}
    model_server.hold_answers(after=5)
    async with program.stream("POST", f"/threads/{thread_id}/messages", json=body) as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if "word-" in line:
                break
        assert problem(await other.post(stop)) == (404, "not-found")
        stopped = await program.post(stop, headers=once)
        assert stopped.status_code == 200, stopped.text
        rest = [line async for line in lines if line.startswith("data:")]
    kept = stopped.json()["answer"]
    assert (stopped.json()["is_answering"], kept["status"]) == (False, "stopped")
    assert kept["content"].startswith("word-1")
    assert json.loads(rest[-1].removeprefix("data:"))["answer"] == kept, "the program that asked"
    (_, last) = (await program.get(f"/threads/{thread_id}/messages")).json()["data"]
    assert last == kept

    async def ended_calls() -> list[LlmCall]:
        rows = (await layer.list_calls(CallFilter(kinds=("chat",)))).rows
        return [row.call for row in rows if row.call.finish_reason == "stopped"]

    # Its tokens are counted and its row is stored beside the turn.
    (call,) = await until(ended_calls)
    assert call.step_id == kept["id"]
    assert call.completion_tokens
    again = await program.post(stop, headers=once)
    assert (again.json(), again.headers["idempotency-replayed"]) == (stopped.json(), "true")
    assert (await program.post(stop)).json() == stopped.json()

    # A question that waits is answered.
    with acting_as("uma"):
        (key,) = await layer.list_api_keys()
        model_server.hold_answers(after=2)
        turn = await ask_thread(thread_id, "Go", model="slow:20:0.05", key=key)
        async for event in turn.events():
            if event.kind == "text":
                break
    behind = await asked(program, thread_id, "Behind", background=True)
    assert behind.status_code == 202, behind.text
    stopped = await program.post(stop)
    assert stopped.json()["answer"]["id"] == (await turn.result()).answer_id
    assert (await program.get(f"/jobs/{behind.json()['id']}")).json()["state"] == "waiting"

    # Without any text.
    begun = asyncio.create_task(asked(program, thread_id, "Hang", model="hang:0"))
    await until(lambda: any(one.model == "hang:0" for one in model_server.requests))
    assert (await program.post(stop)).json() == {"is_answering": False, "answer": None}
    assert problem(await begun) == (409, "answer-stopped")


async def test_an_answer_without_its_claim_is_stopped(
    program_of: Program,
    layer: ChainlitLayer,
    model_server: ModelServer,  # noqa: F811
) -> None:
    """As after the database was away for longer than a claim lasts."""
    program = await program_of()
    thread_id = (await made(program))["id"]
    asking = asyncio.create_task(asked(program, thread_id, "Hang", model="hang:0"))
    await until(lambda: model_server.requests)
    async with layer.database.write() as connection:
        await connection.execute(turn_claims.delete())
    stopped = await program.post(f"/threads/{thread_id}/stop")
    assert stopped.json() == {"is_answering": False, "answer": None}
    assert problem(await asyncio.wait_for(asking, 30)) == (409, "answer-stopped")


async def test_an_answer_that_the_server_stops_is_not_the_fault_of_anybody(
    program_of: Program,
    ask_thread: Programs,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, reading = await program_of(), asyncio.Event()
    thread_id = (await made(program))["id"]

    async def never(*_args: object) -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ask_thread._answering.questions, "read", never)
    begun = asyncio.create_task(asked(program, thread_id, "Go"))
    await reading.wait()
    await ask_thread._conversations.stop()
    assert problem(await begun) == (503, "server-stopped")
    assert (await begun).headers["retry-after"]
    assert await texts(program, thread_id) == ["Go"]


async def test_a_turn_of_another_process_is_asked_to_stop(program_of: Program, layer: ChainlitLayer) -> None:
    program, holder = await program_of(), new_id()
    thread_id = (await made(program))["id"]
    assert await layer.claim_turn(thread_id, holder, 60)
    stopping = asyncio.create_task(program.post(f"/threads/{thread_id}/stop"))

    async def is_asked() -> bool:
        return (await layer.keep_turns([holder], 60))[holder]

    await until(is_asked)
    await layer.release_turn(holder)
    assert (await stopping).json() == {"is_answering": False, "answer": None}
    assert await layer.claim_turn(thread_id, holder, 60)
    once = {"Idempotency-Key": "stop"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_STOP_SECONDS", 0.01)
        stopped = await program.post(f"/threads/{thread_id}/stop", headers=once)
    assert stopped.json() == {"is_answering": True, "answer": None}
    await layer.release_turn(holder)
    # The same request is sent again until the answer has ended.
    for is_replayed in (False, True):
        again = await program.post(f"/threads/{thread_id}/stop", headers=once)
        assert again.json() == {"is_answering": False, "answer": None}
        assert ("idempotency-replayed" in again.headers) is is_replayed


async def test_messages_are_marked_as_favourites(program_of: Program) -> None:
    program, other = await program_of(), await program_of("admin")
    thread_id = (await made(program))["id"]
    turn = (await asked(program, thread_id, "Keep me")).json()
    address = f"/threads/{thread_id}/messages/{turn['question']['id']}/favorite"
    assert problem(await other.put(address)) == (404, "not-found")
    assert (await program.put(address)).status_code == 204
    (found,) = (await program.get("/favorites")).json()["data"]
    assert found == {"thread_id": thread_id, "message": turn["question"] | {"is_favorite": True}}
    assert (await other.get("/favorites")).json()["data"] == []
    answer = address.replace(turn["question"]["id"], turn["answer"]["id"])
    assert (await program.put(answer)).status_code == 204
    assert problem(await program.put(answer.replace(thread_id, new_id()))) == (404, "not-found")
    first = (await program.get("/favorites", params={"limit": 1})).json()
    rest = (await program.get("/favorites", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    marked = [one["message"]["id"] for one in first["data"] + rest["data"]]
    assert (marked, rest["next_cursor"]) == ([turn["answer"]["id"], turn["question"]["id"]], None)
    assert problem(await program.get("/favorites", params={"cursor": new_id()})) == (422, "invalid")
    assert (await program.delete(answer)).status_code == 204
    assert (await program.delete(address)).status_code == 204
    assert (await program.get("/favorites")).json()["data"] == []


@pytest.mark.parametrize("background", [False, True])
async def test_a_refused_question_names_no_thread(program_of: Program, background: bool) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    refused = await asked(program, thread_id, "With a file", elements=[new_id()], background=background)
    assert problem(refused) == (422, "file-refused")
    assert (await program.get(f"/threads/{thread_id}")).json()["name"] is None
