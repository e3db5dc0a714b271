"""Answers in the background: jobs that are polled, cancelled and told by webhooks."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web
from sqlalchemy import delete, update

from datalayer import Job, StorageUnavailable, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.jobs.endings import follow
from datalayer.jobs.runner import Times
from datalayer.schema.chat import steps
from datalayer.schema.jobs import jobs
from datalayer.schema.keys import api_replies
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import new_id, step
from tests.web.conftest import Program, problem
from tests.web.test_api import ask_thread, asked, made  # noqa: F401  the conversations with the scripted model server
from threadkeeper.conversation.programs import Programs
from threadkeeper.jobs import answers, webhooks
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.program_turns import TurnResult

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Json = dict[str, Any]


@dataclass
class Receiver:
    """Takes webhooks, and answers them with `statuses` one after another, then with 200."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[Any, bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.headers.copy(), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    taken, app = Receiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", taken.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    taken.port = runner.addresses[0][1]
    yield taken
    await runner.cleanup()


@pytest.fixture
def webhook_places(receiver: Receiver) -> Places:
    # The other name has no network, so its addresses must be public.
    own = f"http://127.0.0.1:{receiver.port}=127.0.0.0/8"
    return Places(url_hosts([own, f"http://localhost:{receiver.port}"]))


TIMES = Times(look=0.05, beat=0.05, away=0.05)


@pytest.fixture
async def runs_jobs(layer: ChainlitLayer) -> AsyncIterator[None]:
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


async def started(program: httpx.AsyncClient, thread_id: str, **fields: Any) -> Json:
    body = {"content": "Go", "background": True, **fields}
    answer = await program.post(f"/threads/{thread_id}/messages", json=body)
    assert answer.status_code == 202, answer.text
    found: Json = answer.json()
    assert answer.headers["location"] == f"/api/v1/jobs/{found['id']}"
    return found


async def ended(program: httpx.AsyncClient, job: Json, *states: str) -> Json:
    async def in_state() -> Json | None:
        found: Json = (await program.get(f"/jobs/{job['id']}")).json()
        return found if found["state"] in (states or ("done",)) else None

    return await until(in_state)


async def messages(program: httpx.AsyncClient, thread_id: str) -> list[Json]:
    found: list[Json] = (await program.get(f"/threads/{thread_id}/messages")).json()["data"]
    return found


@pytest.mark.usefixtures("runs_jobs")
async def test_questions_are_answered_in_the_background_one_after_another(
    program_of: Program, model_server: ModelServer, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A question that waits gives its place to other threads.
    monkeypatch.setattr(answers, "_HOLD_SECONDS", 0.0)
    monkeypatch.setattr(answers, "_SELDOMEST_SECONDS", 0.1)
    program = await program_of()
    thread_id = (await made(program))["id"]
    answer_first = model_server.hold_answers()
    first = await started(program, thread_id, content="One", model="slow:20:0.05")
    assert (first["answer_id"], first["error"], first["webhook"]) == (None, None, None)
    address, body = f"/threads/{thread_id}/messages", {"content": "Two", "model": "context-echo"}
    once = {"Prefer": "wait=5, respond-async", "Idempotency-Key": "two"}
    second = await program.post(address, json=body, headers=once)
    assert second.status_code == 202
    again = await program.post(address, json=body, headers=once)
    assert (again.json(), again.headers["location"]) == (second.json(), second.headers["location"])
    stored = await messages(program, thread_id)
    assert [one["content"] for one in stored if one["role"] == "user"] == ["One", "Two"], "at once"

    async def is_postponed() -> bool:
        waiting = await layer.get_job(second.json()["id"])
        return waiting is not None and waiting.attempt > 1

    await until(is_postponed)
    answer_first.set()
    done = await ended(program, second.json())
    assert (await ended(program, first))["ended_at"] <= done["ended_at"]
    job = await layer.get_job(first["id"])
    assert job is not None
    assert job.format == 1, "an older version answers it, too"
    waited = await layer.get_job(second.json()["id"])
    assert waited is not None
    assert waited.interruptions == 0
    stored = await messages(program, thread_id)
    answer = next(one for one in stored if one["id"] == done["answer_id"])
    sent = [one["content"] for one in json.loads(answer["content"])[1:]]
    assert sent == ["One", "".join(f"word-{n} " for n in range(1, 21)), "Two"]
    assert [one["role"] for one in stored] == ["user", "user", "assistant", "assistant"]
    assert [one.model for one in model_server.requests if one.model != "echo"] == ["slow:20:0.05", "context-echo"]

    # An attempt that was lost before its answer was kept, and then a key that is used again after more than a day.
    async with layer.database.write() as connection:
        await connection.execute(delete(api_replies))
    repeated = await ended(program, (await program.post(address, json=body, headers=once)).json())
    assert (repeated["question_id"], repeated["answer_id"]) == (done["question_id"], done["answer_id"])
    async with layer.database.write() as connection:
        for table in (api_replies, steps):
            await connection.execute(update(table).values(createdAt=utc_in(-25 * 3_600)))
    later = await ended(program, (await program.post(address, json=body, headers=once)).json())
    assert later["question_id"] != done["question_id"]
    assert later["answer_id"] != done["answer_id"]


@pytest.mark.usefixtures("runs_jobs")
async def test_an_incomplete_answer_is_continued_in_the_background_once(
    program_of: Program,
    model_server: ModelServer,
    layer: ChainlitLayer,
    ask_thread: Programs,  # noqa: F811
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    turn = (await program.post(address, json={"content": "Go", "model": "length"})).json()
    go_on, once = f"{address}/{turn['answer']['id']}/continue", {"Idempotency-Key": "on", "Prefer": "respond-async"}
    wrong = await program.post(go_on, json={"background": True, "stream": True})
    assert (problem(wrong), wrong.json()["errors"][0]["field"]) == ((422, "invalid"), "body.stream")
    assert problem(await program.post(f"{address}/{new_id()}/continue", json={"background": True}))[0] == 404
    with acting_as("uma"):
        (key,) = await layer.list_api_keys()
        begun = await ask_thread.unfinished(thread_id, turn["answer"]["id"], key=key)
    accepted = await program.post(go_on, json={}, headers=once)
    assert accepted.status_code == 202, accepted.text
    assert (await program.post(go_on, json={}, headers=once)).json() == accepted.json()
    stored_job = await layer.get_job(accepted.json()["id"])
    assert stored_job is not None
    assert stored_job.format == 2
    job = await ended(program, accepted.json())
    assert (job["answer_id"], job["question_id"]) == (turn["answer"]["id"], turn["question"]["id"])
    longer = (await messages(program, thread_id))[-1]
    assert longer["content"].startswith("You said: GoYou said: Your last answer was interrupted.")
    # What a job does again whose process died: before its end was stored, and in the middle of the answer.
    asked = len(model_server.requests)
    with acting_as("uma"):
        found = await ask_thread.go_on(thread_id, job["answer_id"], begun, key=key)
        assert isinstance(found, TurnResult)
        assert (found.answer_id, len(model_server.requests)) == (job["answer_id"], asked)
        stored = next(one for one in (await layer.get_thread(thread_id))["steps"] if one["id"] == job["answer_id"])
        await layer.update_step({**stored, "output": "You said: GoYou", "metadata": {}, "streaming": True})
        again = await ask_thread.go_on(thread_id, job["answer_id"], begun, key=key)
        assert (await again.result()).answer_id == job["answer_id"]  # type: ignore[union-attr]
    assert model_server.requests[asked].body["messages"][-2]["content"] == "You said: GoYou"
    await program.post(address, json={"content": "Then?", "model": "echo"})
    assert problem(await program.post(go_on, json={"background": True})) == (409, "too-late")


@pytest.mark.usefixtures("runs_jobs")
async def test_a_job_is_cancelled_or_fails_with_a_reason(program_of: Program, layer: ChainlitLayer) -> None:
    program, other = await program_of(), await program_of("admin")
    thread_id = (await made(program))["id"]
    job = await started(program, thread_id, model="hang:3")

    assert problem(await other.get(f"/jobs/{job['id']}")) == (404, "not-found")
    assert problem(await other.delete(f"/jobs/{job['id']}")) == (404, "not-found")
    assert problem(await program.get(f"/jobs/{new_id()}")) == (404, "not-found")
    await ended(program, job, "running")
    assert (await program.delete(f"/jobs/{job['id']}")).status_code == 202
    assert (await ended(program, job, "cancelled"))["answer_id"] is None
    failing = await started(program, thread_id, model="401")
    failed = await ended(program, failing, "failed")
    assert failed["error"] == (await messages(program, thread_id))[-1]["content"]
    with acting_as("uma"):
        retried = await layer.retry_job(failing["id"])
    assert retried.state == "waiting"
    await ended(program, failing, "failed")
    errors = [one for one in await messages(program, thread_id) if one["is_error"]]
    assert len(errors) == 1, "the error of before is deleted"
    (deleted,) = [await started(program, thread_id, model="hang:3")]
    waits = await started(program, thread_id)
    assert (await program.post(f"/jobs/{deleted['id']}/cancel")).status_code == 202
    assert (await ended(program, waits))["answer_id"]


async def test_a_job_of_a_revoked_key_or_a_deleted_question_fails(program_of: Program, layer: ChainlitLayer) -> None:
    program, revoked = await program_of(), await program_of()
    thread_id = (await made(program))["id"]
    lost, without = await started(program, thread_id), await started(revoked, thread_id)
    with acting_as("uma"):
        await layer.delete_step(lost["question_id"])
        keys = {key.prefix: key for key in await layer.list_api_keys()}
        await layer.revoke_api_key(keys[revoked.headers["x-api-key"][:10]].id)
    layer.run_jobs(Times(look=0.05, beat=0.05))
    assert "deleted" in (await ended(program, lost, "failed"))["error"]
    assert "revoked" in (await ended(program, without, "failed"))["error"]
    await layer.stop_jobs()


async def test_what_is_no_question_for_later_is_refused(program_of: Program, receiver: Receiver) -> None:
    program = await program_of(models=["echo"])
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    for body, found in (
        ({"background": True, "stream": True}, "body.stream"),
        ({"webhook": f"http://127.0.0.1:{receiver.port}/"}, "body.webhook"),
        ({"background": True, "webhook": "https://example.com/"}, "body.webhook"),
        ({"background": True, "webhook": "file:///etc/passwd"}, "body.webhook"),
        ({"background": True, "content": " "}, "body.content"),
    ):
        refused = await program.post(address, json={"content": "Go", **body})
        assert problem(refused) == (422, "invalid")
        assert refused.json()["errors"][0]["field"] == found
    later = {"content": "Go", "background": True, "model": "context-echo"}
    assert problem(await program.post(address, json=later)) == (403, "model-not-allowed")
    assert await messages(program, thread_id) == []


@pytest.mark.usefixtures("runs_jobs")
async def test_an_answer_whose_thread_is_deleted_is_no_answer(
    program_of: Program, model_server: ModelServer, receiver: Receiver
) -> None:
    program, url = await program_of(), f"http://127.0.0.1:{receiver.port}/"
    for fields in ({"background": True, "webhook": url}, {}, {"stream": True}):
        thread_id = (await made(program))["id"]
        model_server.forget()
        answer_now = model_server.hold_answers()
        asking = asyncio.create_task(asked(program, thread_id, "Go", **fields))
        await until(lambda: any(one.body.get("stream") for one in model_server.requests))
        assert (await program.delete(f"/threads/{thread_id}")).status_code == 204
        answer_now.set()
        answer = await asking
        if fields.get("background"):
            found = await ended(program, answer.json(), "done", "failed")
            said = found["state"], found["answer_id"], found["error"]
            await until(lambda: receiver.got)
            assert json.loads(receiver.got[-1][1])["type"] == "answer.failed"
        elif fields:
            last = json.loads(answer.text.rpartition("event: problem\ndata: ")[2])
            said = last["status"], last["type"].rpartition(":")[2], last["detail"]
        else:
            said = (*problem(answer), answer.json()["detail"])
        first = ("failed", None) if fields.get("background") else (404, "not-found")
        assert said == (*first, "The thread was deleted before its answer was complete.")


@pytest.mark.usefixtures("runs_jobs")
async def test_a_webhook_is_signed_and_tried_again(
    program_of: Program, receiver: Receiver, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_PAUSES_SECONDS", (0.0,) * 4)
    program = await program_of()
    thread_id = (await made(program))["id"]
    receiver.statuses = [500, 302]
    url = f"http://127.0.0.1:{receiver.port}/hook?a=b"
    job = await started(program, thread_id, webhook=url)

    async def told(state: str, which: Json = job) -> Json | None:
        found: Json = (await program.get(f"/jobs/{which['id']}")).json()
        return found if found["webhook"]["state"] == state else None

    done = await until(lambda: told("done"))
    assert (done["webhook"]["url"], done["webhook"]["tries"]) == (url, 3)
    assert done["webhook"]["detail"] == (
        "Try 1: 127.0.0.1 answered with 500. Try 2: 127.0.0.1 answered with 302. Try 3: delivered (200)."
    )
    assert len(receiver.got) == 3, "redirects are not followed"
    secret = (await program.get("/webhook-secret")).json()["secret"]
    other = (await (await program_of()).get("/webhook-secret")).json()["secret"]
    assert secret != other
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1, "a try later tells of the same event"
    headers, body = receiver.got[-1]
    # As the specification says, and not by our own function.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}".encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    message = json.loads(body)
    assert (message["type"], message["data"]["answer_id"]) == ("answer.completed", done["answer_id"])
    assert message["timestamp"] == done["ended_at"]

    receiver.statuses = [503] * 9
    failing = await started(program, thread_id, webhook=url, model="401")
    failed = await until(lambda: told("failed", failing))
    assert (failed["state"], failed["webhook"]["tries"], len(receiver.got)) == ("failed", 5, 8)
    assert json.loads(receiver.got[-1][1])["type"] == "answer.failed"
    inside = await started(program, thread_id, webhook=f"http://localhost:{receiver.port}/")
    refused = await until(lambda: told("failed", inside))
    assert refused["webhook"]["detail"] == "Try 1: localhost is at an address that is not allowed."
    assert len(receiver.got) == 8

    # Cancelled while it waits for its turn.
    receiver.statuses.clear()
    await layer.stop_jobs()
    cancelled = await started(program, thread_id, webhook=url)
    assert (await program.delete(f"/jobs/{cancelled['id']}")).json()["state"] == "cancelled"
    layer.run_jobs(TIMES)
    await until(lambda: told("done", cancelled))
    assert json.loads(receiver.got[-1][1])["type"] == "answer.cancelled"
    found = await layer.get_job(cancelled["id"])
    assert found is not None
    await follow(layer._job_kinds, found)
    assert len((await layer.list_jobs(kinds=[webhooks.WEBHOOK], key=found.id)).jobs) == 1, "this end was told already"


@pytest.mark.usefixtures("runs_jobs")
async def test_a_question_is_edited_and_an_answer_written_anew_in_the_background(
    program_of: Program, model_server: ModelServer, layer: ChainlitLayer
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    first = (await program.post(address, json={"content": "One"})).json()
    await program.post(address, json={"content": "Two"})
    once = {"Idempotency-Key": "edit"}
    edit, body = f"{address}/{first['question']['id']}/edit", {"content": "Three", "background": True}
    answer = await program.post(edit, json=body, headers=once)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
    assert (await messages(program, thread_id))[0]["content"] == "Three", "at once"
    assert (await program.post(edit, json=body, headers=once)).json() == answer.json()
    edited = await ended(program, answer.json())
    assert edited["question_id"] == first["question"]["id"]
    assert [one["content"] for one in await messages(program, thread_id)] == ["Three", "You said: Three"]

    anew = await program.post(
        f"{address}/{edited['answer_id']}/regenerate",
        json={"model": "context-echo"},
        headers={"Prefer": "respond-async"},
    )
    assert anew.status_code == 202, anew.text
    done = await ended(program, anew.json())
    assert done["answer_id"] != edited["answer_id"]
    (_, last) = await messages(program, thread_id)
    assert (last["id"], last["model"]) == (done["answer_id"], "context-echo")
    assert model_server.requests[-1].body["messages"][-1]["content"] == "Three"
    with acting_as("uma"):
        earlier = {(one.change, one.output) for one in await layer.message_versions(thread_id)}
    assert {("edited", "One"), ("removed", "You said: Three")} <= earlier, "as after an edit on the page"

    for fields, found in (({"stream": True}, "body.stream"), ({"webhook": "https://example.com/"}, "body.webhook")):
        refused = await program.post(edit, json={**body, **fields})
        assert refused.json()["errors"][0]["field"] == found
    late = f"{address}/{new_id()}/regenerate"
    assert problem(await program.post(late, json={"background": True})) == (404, "not-found")
    assert len(await messages(program, thread_id)) == 2, "nothing was deleted"


@pytest.mark.parametrize("act", ["ask", "edit", "regenerate"])
async def test_a_repetition_starts_the_job_that_was_not_stored(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    first = (await program.post(address, json={"content": "One"})).json()
    path = {
        "ask": address,
        "edit": f"{address}/{first['question']['id']}/edit",
        "regenerate": f"{address}/{first['answer']['id']}/regenerate",
    }[act]
    body = {"background": True} | ({} if act == "regenerate" else {"content": "Two"})
    once, start = {"Idempotency-Key": "once"}, layer.start_job

    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise StorageUnavailable("the database is away")

    monkeypatch.setattr(layer, "start_job", fails)
    assert problem(await program.post(path, json=body, headers=once))[0] == 503
    monkeypatch.setattr(layer, "start_job", start)

    async def questions() -> list[tuple[str, str]]:
        return [(one["id"], one["content"]) for one in await messages(program, thread_id) if one["role"] == "user"]

    stored = await questions()
    again = await program.post(path, json=body, headers=once)
    assert again.status_code == 202, again.text
    assert await questions() == stored, "the question is stored once"
    (question_id, text) = stored[-1]
    assert again.json()["question_id"] == question_id
    repeated = await program.post(path, json=body, headers=once)
    assert (repeated.json()["id"], repeated.headers["idempotency-replayed"]) == (again.json()["id"], "true")
    layer.run_jobs(Times(look=0.05, beat=0.05, away=0.05))
    done = await ended(program, again.json())
    await layer.stop_jobs()
    answer = (await messages(program, thread_id))[-1]
    assert (answer["id"], answer["content"]) == (done["answer_id"], f"You said: {text}")


@pytest.mark.parametrize("act", ["edit", "regenerate", "continue"])
async def test_a_repetition_finds_the_job_whose_first_response_was_lost(
    program_of: Program, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    first = (await program.post(address, json={"content": "One", "model": "length"})).json()
    path = f"{address}/{first['question' if act == 'edit' else 'answer']['id']}/{act}"
    body = {"background": True} | ({"content": "Two"} if act == "edit" else {})
    once, start, stored = {"Idempotency-Key": "once"}, layer.start_job, list[Job]()

    async def is_lost(*args: Any, **kwargs: Any) -> Any:
        stored.append(await start(*args, **kwargs))
        raise StorageUnavailable("the connection is lost")

    monkeypatch.setattr(layer, "start_job", is_lost)
    assert problem(await program.post(path, json=body, headers=once))[0] == 503
    monkeypatch.setattr(layer, "start_job", start)
    layer.run_jobs(Times(look=0.05, beat=0.05, away=0.05))
    done = await ended(program, {"id": stored[0].id})
    await layer.stop_jobs()
    answered = await messages(program, thread_id)
    # The thread answers another question now.
    holder = new_id()
    await until(lambda: layer.claim_turn(thread_id, holder, 60))
    again = await program.post(path, json=body, headers=once)
    assert (again.status_code, again.json()) == (202, done), again.text
    await layer.release_turn(holder)
    assert await messages(program, thread_id) == answered

    # A key that is used again after more than a day.
    async with layer.database.write() as connection:
        for table in (api_replies, jobs):
            await connection.execute(update(table).values(createdAt=utc_in(-25 * 3_600)))
    later = await program.post(path, json=body, headers=once)
    assert later.json().get("id") != done["id"]


async def test_an_answer_anew_in_the_background_survives_a_crash(
    program_of: Program, layer: ChainlitLayer, model_server: ModelServer
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    first = (await program.post(address, json={"content": "Go"})).json()
    anew = f"{address}/{first['answer']['id']}/regenerate"
    job = (await program.post(anew, json={"background": True})).json()
    assert [one["content"] for one in await messages(program, thread_id)] == ["Go"]
    # What a process leaves that is killed within the new answer.
    run = step(thread_id, "", type="run", name="on_message", parentId=job["question_id"])
    left = step(thread_id, "The ans", type="assistant_message", parentId=run["id"], streaming=True)
    with acting_as("uma"):
        for one in (run, left):
            await layer.create_step(one)
    async with layer.database.write() as connection:
        await connection.execute(update(jobs).values(state="running", replicaId=new_id(), attempt=1))
    layer.run_jobs(Times(look=0.05, beat=0.05, away=0.05))
    await ended(program, job)
    await layer.stop_jobs()
    assert [one["content"] for one in await messages(program, thread_id)] == ["Go", "You said: Go"]
    asked = [one for one in model_server.requests if one.body["messages"][-1]["content"] == "Go"]
    assert len(asked) == 2, "the first answer, and the one that replaces it"


async def test_a_failed_question_is_asked_again_in_the_background(program_of: Program, layer: ChainlitLayer) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    address = f"/threads/{thread_id}/messages"
    assert problem(await program.post(address, json={"content": "Go", "model": "401"}))[0] == 502
    question = (await messages(program, thread_id))[0]
    layer.run_jobs(Times(look=0.05, beat=0.05, away=0.05))
    anew = f"{address}/{question['id']}/regenerate"
    job = (await program.post(anew, json={"model": "echo", "background": True})).json()
    done = await ended(program, job)
    await layer.stop_jobs()
    assert [one["id"] for one in await messages(program, thread_id)] == [question["id"], done["answer_id"]]
    thread = await layer.get_thread(thread_id)
    assert thread is not None
    stored = next(one for one in thread["steps"] if one["id"] == question["id"])
    assert "failed" not in (stored["metadata"] or {}), "it is sent with later questions again"


@pytest.mark.parametrize("is_whole", [True, False])
async def test_after_a_crash_an_answer_that_is_stored_is_not_asked_for_again(
    program_of: Program, layer: ChainlitLayer, model_server: ModelServer, is_whole: bool
) -> None:
    program = await program_of()
    thread_id = (await made(program))["id"]
    job = await started(program, thread_id)
    # What a process leaves that is killed before the end of the job, or within the answer.
    run = step(thread_id, "", type="run", name="on_message", parentId=job["question_id"])
    status = {"metadata": {"status": "complete"}} if is_whole else {"streaming": True}
    left = step(thread_id, "The answer", type="assistant_message", parentId=run["id"], **status)
    with acting_as("uma"):
        for one in (run, left):
            await layer.create_step(one)
    async with layer.database.write() as connection:
        await connection.execute(update(jobs).values(state="running", replicaId=new_id(), attempt=1))
    layer.run_jobs(Times(look=0.05, beat=0.05, away=0.05))
    done = await ended(program, job)
    await layer.stop_jobs()
    found = [one["content"] for one in await messages(program, thread_id)]
    assert found == ["Go", "The answer" if is_whole else "You said: Go"]
    assert (done["answer_id"] == left["id"]) is is_whole
    asked = [one for one in model_server.requests if one.body["messages"][-1]["content"] == "Go"]
    assert len(asked) == (0 if is_whole else 1)
