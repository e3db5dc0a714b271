"""The chat through a client that acts as the page does: what a turn shows and what it stores."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import socketio  # type: ignore[import-untyped]
from sqlalchemy import text

from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import AppServer
from tests.support.shared_server import PASSWORD, Chat

pytestmark = pytest.mark.slow

MODELS = (
    "echo,context-echo,slow:60:0.1,401,404,500,cut:3,hang:2,429:1:0,error:2,short:2,window:5,"
    "ends:object-error,ends:closed,body:json-error"
)


SETTINGS = {"OPENAI_MODELS": MODELS, "OPENAI_TITLE_MODEL": "say:A Fine Title"}


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    for name in ("alice", "bob"):
        await chat.add_user(name)
    return chat


async def chat_server(start_server: StartServer, **settings: str) -> AppServer:
    server = await start_server(**SETTINGS, **settings)
    for name in ("alice", "bob"):
        await server.add_user(name, PASSWORD)
    return server


# Of the settings: after that, a model that says nothing is left.
_SILENCE_SECONDS = 60


def ended(client: ChatClient, seen: int) -> bool:
    """Whether a turn has ended since the first `seen` events."""
    return any(name == "task_end" for name, _ in client.events[seen:])


def started(client: ChatClient, since: int) -> bool:
    """Whether an answer has started since the first `since` events."""
    return any(name == "stream_start" for name, _ in client.events[since:])


async def stored(client: ChatClient) -> dict[str, Any]:
    answer = await client.http.get(f"/project/thread/{client.thread_id}")
    return dict(answer.raise_for_status().json())


async def titled(client: ChatClient) -> None:
    """Wait for the title, which is stored some time after the first answer."""
    await client.until(
        lambda: any(n == "first_interaction" and d["interaction"] == "A Fine Title" for n, d in client.events)
    )


def messages(thread: dict[str, Any]) -> list[str]:
    return [step["output"] for step in thread["steps"] if step["type"] in ("user_message", "assistant_message")]


def use(model: str) -> dict[str, str]:
    return {"model": model}


async def test_an_edit_removes_later_messages_from_the_page_and_the_store(chat: Chat) -> None:
    async with chat.client("alice") as client:
        for text in ("one", "two", "three"):
            await client.ask(text)
        before = await stored(client)
        assert messages(before) == ["one", "You said: one", "two", "You said: two", "three", "You said: three"]
        second = next(step for step in before["steps"] if step["output"] == "two")
        seen = len(client.events)
        await client.emit("edit_message", {"message": {**second, "output": "zwei"}})
        await client.until(lambda: ended(client, seen))
        after = await stored(client)
        assert messages(after) == ["one", "You said: one", "zwei", "You said: zwei"]
        ids = {step["id"] for step in after["steps"]}
        runs = [step for step in after["steps"] if step["type"] == "run" and step["parentId"]]
        assert {step["parentId"] for step in runs} <= ids, "runs of removed messages are removed"
        assert [step["output"] for step in client.answers()] == ["You said: one", "You said: zwei"]
        asked = [one for one in chat.model_server.requests if one.model == "echo"][-1]
        assert [message["content"] for message in asked.body["messages"]][1:] == ["one", "You said: one", "zwei"]


async def test_a_thumbs_down_is_kept_after_an_edit(chat: Chat) -> None:
    await chat.add_user("rita", "reviewer")
    async with chat.client("alice") as client:
        for text in ("one", "two", "three"):
            await client.ask(text)
        thread = await stored(client)
        second, third = (one for one in thread["steps"] if one["output"] in ("You said: two", "You said: three"))
        for answer, comment in ((second, "not this"), (third, "nor this")):
            vote = {"forId": answer["parentId"], "value": 0, "comment": comment}
            (
                await client.http.put("/feedback", json={"feedback": vote, "sessionId": client.session_id})
            ).raise_for_status()
        seen = len(client.events)
        asked = next(one for one in thread["steps"] if one["output"] == "two")
        await client.emit("edit_message", {"message": {**asked, "output": "zwei"}})
        await client.until(lambda: ended(client, seen))
        assert not [one for one in (await stored(client))["steps"] if one["feedback"]]
    async with httpx.AsyncClient(base_url=chat.base_url, **PLAIN_HTTP) as reviewer:
        (await reviewer.post("/login", data={"username": chat.name("rita"), "password": PASSWORD})).raise_for_status()
        inbox = (await reviewer.get("/review?thumb=down")).raise_for_status().text
        for answer, asked_then, comment in ((second, "two", "not this"), (third, "three", "nor this")):
            row = next(one for one in inbox.split("<li>") if f"answer={answer['id']}" in one)
            assert f">{asked_then}<" in row
            assert all(words in row for words in (answer["output"], f"“{comment}”", "echo"))
            page = await reviewer.get(f"/review/threads/{client.thread_id}?answer={answer['id']}")
            assert f"“{comment}”" in page.raise_for_status().text


async def test_a_resumed_thread_continues_with_its_context_and_files(start_server: StartServer) -> None:
    server = await chat_server(start_server)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        file_id = await client.upload("note.txt", "the word is 绿色".encode(), "text/plain")
        seen = len(client.events)
        await client.send("remember this", files=[file_id])
        await client.until(lambda: ended(client, seen))
        thread_id = client.thread_id
    await server.restart()
    async with ChatClient(server.base_url, "alice", PASSWORD, thread_id=thread_id) as client:
        answer = await client.ask("what was it?", modes=use("context-echo"))
        assert "the word is 绿色" in answer
        assert "You said:" in answer
        # An edit of a question from before the restart still has its file.
        first = next(step for step in (await stored(client))["steps"] if step["output"] == "remember this")
        seen = len(client.events)
        changed = {**first, "output": "and now?", "modes": use("context-echo")}
        await client.emit("edit_message", {"message": changed})
        await client.until(lambda: ended(client, seen))
        assert "the word is 绿色" in client.answer


async def test_stop_keeps_and_marks_the_partial_answer(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.send("go on and on", modes=use("slow:60:0.1"))
        await client.until(lambda: "word-5" in client.answer)
        await client.emit("stop")
        await client.until(lambda: "Stopped here." in client.answer)
        thread = await stored(client)
        (answer,) = [step for step in thread["steps"] if step["type"] == "assistant_message"]
        assert answer["output"].startswith("word-1 word-2 word-3 word-4 word-5")
        assert answer["output"].endswith("*Stopped here.*")
        assert (answer["streaming"], answer["metadata"]["status"]) == (False, "stopped")


async def test_the_answer_ends_whose_thread_is_deleted(chat: Chat) -> None:
    goes_on = chat.model_server.hold_answers(after=1)
    try:
        async with chat.client("alice") as client:
            await client.send("hello there", modes=use("echo"))
            await client.until(lambda: client.answer)
            await until(lambda: answers(client, 200), what="the thread")
            deleted = await client.http.request("DELETE", "/project/thread", json={"threadId": client.thread_id})
            assert deleted.raise_for_status().json() == {"success": True}
            (request,) = [one for one in chat.model_server.requests if one.model == "echo"]
            # Its process looks every few seconds. A silent model is left after a minute in any case.
            await client.until(lambda: request.left_early, _SILENCE_SECONDS / 2, what="the end of the request")
            await until(lambda: "a turn is stopped: its thread was deleted" in chat.log, what="its line in the log")
            assert await answers(client, 404)
    finally:
        goes_on.set()


async def answers(client: ChatClient, status: int) -> bool:
    """Whether the thread of the client is answered with this status."""
    return (await client.http.get(f"/project/thread/{client.thread_id}")).status_code == status


# The scripted model, words of the error message, and whether there is a partial answer.
FAULTS = [
    *(("401", "key", False), ("500", "failed", False), ("cut:3", "connection", True), ("error:2", "failed", True)),
    *(("ends:object-error", "failed", True), ("ends:closed", "connection", True), ("body:json-error", "failed", False)),
]


async def test_a_model_error_is_explained_and_can_be_retried(start_server: StartServer) -> None:
    server = await chat_server(start_server, OPENAI_TIMEOUT_SECONDS="5")
    for model, sentence, partial in [*FAULTS, ("hang:2", "in time", True)]:
        async with ChatClient(server.base_url, "alice", PASSWORD) as client:
            await client.ask("hello there", modes=use(model))
            thread = await stored(client)
            question = next(step for step in thread["steps"] if step["type"] == "user_message")
            error = thread["steps"][-1]
            assert error["isError"], model
            assert sentence in error["output"], model
            assert error["metadata"] == {"status": "error", "model": model}
            kept = [s for s in thread["steps"] if s["type"] == "assistant_message" and not s["isError"]]
            assert bool(kept) == partial, model
            for answer in kept:
                assert answer["metadata"]["status"] == "cut"
                assert answer["output"].endswith("*The answer was cut off here.*")
                assert len(answer["output"]) > len("*The answer was cut off here.*")
            assert str(client.thread_id) in server.log
            said = "the GPU is on fire" if model in ("ends:object-error", "body:json-error") else ""
            assert said in server.log.rpartition(str(client.thread_id))[2].partition("\n")[0], model
            action = client.button("try_again")
            assert action is not None
            assert (action["label"], action["forId"]) == ("Try again", error["id"])
            assert action["tooltip"] == f"Ask {model} the same question again", "not the model that is picked by then"
            seen = len(client.events)
            answered = await client.http.post(
                "/project/action", json={"sessionId": client.session_id, "action": action}
            )
            assert answered.status_code == httpx.codes.OK
            await client.until(lambda seen=seen, client=client: ended(client, seen))  # type: ignore[misc]
            again = await stored(client)
            assert [step["id"] for step in again["steps"] if step["type"] == "user_message"] == [question["id"]]
            assert error["id"] not in [step["id"] for step in again["steps"]], "the retry replaces the error"


async def test_an_unknown_model_offers_no_retry(chat: Chat) -> None:
    """The model that is chosen on the page is sent with a new message, but not with a button."""
    async with chat.client("alice") as client:
        await client.ask("hello there", modes=use("404"))
        error = (await stored(client))["steps"][-1]
        assert error["isError"]
        assert "choose another one and send the question again" in error["output"]
        assert client.button("try_again") is None
    async with chat.client("alice", thread_id=client.thread_id) as client:
        assert client.button("try_again") is None
        assert (await client.ask("and now?", modes=use("echo"))).endswith("and now?")


async def test_questions_and_files_beyond_the_limits_are_refused_with_a_reason(start_server: StartServer) -> None:
    server = await chat_server(
        start_server,
        OPENAI_CONTEXT_TOKENS="200",
        ATTACHMENT_MAX_FILES="2",
        ATTACHMENT_MAX_MEGABYTES="1",
        ATTACHMENT_MAX_TOTAL_MEGABYTES="1",
        ATTACHMENT_KINDS="pdf,text",
    )
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        await client.ask("word " * 500)
        assert "tokens" in client.answer
        for name, content, mime in (
            ("tool.exe", b"MZ\x00", "application/x-msdownload"),
            ("picture.png", b"\x89PNG\r\n\x1a\n", "image/png"),
            ("large.txt", b"x" * 1_100_000, "text/plain"),
        ):
            refused = await client.http.post(
                "/project/file",
                params={"session_id": client.session_id},
                files={"file": (name, content, mime)},
            )
            assert refused.status_code == httpx.codes.BAD_REQUEST
        empty = await client.http.post(
            "/project/file", params={"session_id": client.session_id}, files={"file": ("e.txt", b"", "text/plain")}
        )
        assert (empty.status_code, empty.json()["detail"]) == (httpx.codes.BAD_REQUEST, "The file is empty.")
        for name, mime, words in (
            ("a.exe", "application/x-msdownload", "“a.exe” cannot be read"),
            ("a.png", "image/png", "Images cannot be attached here, so “a.png” was not sent"),
        ):
            answer = await client.http.post(
                "/project/file", params={"session_id": client.session_id}, files={"file": (name, b"MZ", mime)}
            )
            assert words in answer.json()["detail"]
            assert len(answer.json()["detail"]) < 200
        settings = (await client.http.get("/project/settings")).raise_for_status().json()
        assert settings["features"]["spontaneous_file_upload"]["accept"] == {}, "the page asks the server"
        broken = await client.upload("scan.pdf", b"%PDF-1.4 nothing of a PDF", "application/pdf")
        seen = len(client.events)
        await client.send("read it", files=[broken])
        await client.until(lambda: ended(client, seen))
        assert "scan.pdf" in client.answer
        files = [await client.upload(f"{n}.txt", b"x" * 600_000, "text/plain") for n in range(3)]
        # The page itself would not send these.
        for sent, words in ((files, "at most 2 files"), (files[:2], "the maximum is 1 MB per message")):
            seen = len(client.events)
            await client.send("read them", files=sent)
            await client.until(lambda seen=seen: ended(client, seen))  # type: ignore[misc]
            assert words in client.answer
        disguised = await client.upload("notes.txt", b"\x89PNG\r\n\x1a\n", "text/plain")
        seen = len(client.events)
        await client.send("look at it", files=[disguised])
        await client.until(lambda: ended(client, seen))
        assert "Images cannot be attached here" in client.answer


async def test_the_first_answer_sets_the_title_and_later_answers_keep_the_users_title(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("what is a thread?")
        await titled(client)
        assert (await stored(client))["name"] == "A Fine Title"
        rename = {"threadId": client.thread_id, "name": "Mine"}
        (await client.http.put("/project/thread", json=rename)).raise_for_status()
        await client.ask("and what is a needle?")
        assert (await stored(client))["name"] == "Mine"


async def test_no_other_user_can_read_or_change_a_thread(chat: Chat) -> None:
    """Every route of a thread, for its owner, another user and a visitor."""
    async with chat.client("alice") as alice:
        file_id = await alice.upload("a.txt", b"private", "text/plain")
        seen = len(alice.events)
        await alice.send("secret", files=[file_id])
        await alice.until(lambda: ended(alice, seen))

        async def with_its_file() -> dict[str, Any] | None:
            found = await stored(alice)
            return found if found["elements"] else None

        # The row of a file is stored after its bytes, beside the answer.
        thread = await until(with_its_file)
        (element,) = thread["elements"]
        run = next(step for step in thread["steps"] if step["name"] == "on_message")
        vote = {"feedback": {"forId": run["id"], "value": 1}, "sessionId": alice.session_id}
        feedback_id = (await alice.http.put("/feedback", json=vote)).raise_for_status().json()["feedbackId"]
        reads = [element["url"], f"/project/thread/{thread['id']}", f"/project/share/{thread['id']}"]
        reads.append(f"/project/thread/{thread['id']}/element/{element['id']}")
        attempts: list[tuple[str, str, Any]] = [("GET", path, None) for path in reads]
        attempts += [
            ("PUT", "/project/thread", {"threadId": thread["id"], "name": "taken"}),
            ("PUT", "/project/thread/share", {"threadId": thread["id"], "isShared": True}),
            ("DELETE", "/project/thread", {"threadId": thread["id"]}),
            ("PUT", "/feedback", {**vote, "feedback": {"forId": run["id"], "value": 0}}),
            ("DELETE", "/feedback", {"feedbackId": feedback_id}),
        ]
        async with (
            chat.client("bob") as bob,
            httpx.AsyncClient(base_url=chat.base_url, **PLAIN_HTTP) as visitor,
        ):
            for client in (bob.http, visitor):
                for method, path, body in attempts:
                    answer = await client.request(method, path, json=body)
                    assert answer.status_code >= 400, (method, path, answer.text)
                    assert "private" not in answer.text
                    assert "secret" not in answer.text
            listed = await bob.http.post("/project/threads", json={"pagination": {"first": 20}, "filter": {}})
            assert listed.json()["data"] == []
        after = await stored(alice)
        assert next(step for step in after["steps"] if step["id"] == run["id"])["feedback"]["value"] == 1
        assert (await alice.http.get(element["url"])).content == b"private"
        # All users who are logged in can read a shared thread, but only its owner can change it.
        share = {"threadId": thread["id"], "isShared": True}
        (await alice.http.put("/project/thread/share", json=share)).raise_for_status()
        async with chat.client("bob") as bob:
            shared = await bob.http.get(f"/project/share/{thread['id']}")
            read = shared.raise_for_status().json()
            assert messages(read) == messages(after)
            assert not [step for step in read["steps"] if step["feedback"] or "usage" in step["metadata"]]
            assert set(read["metadata"]) == {"is_shared", "shared_at"}
            assert (await bob.http.get(element["url"])).content == b"private"
            for method, path, body in attempts[4:]:
                assert (await bob.http.request(method, path, json=body)).status_code >= 400, (method, path)
            unshare = {**share, "isShared": False}
            (await alice.http.put("/project/thread/share", json=unshare)).raise_for_status()
            for path in reads:
                assert (await bob.http.get(path)).status_code >= 400, path


async def test_an_older_session_does_not_undo_unsharing(start_server: StartServer) -> None:
    server = await chat_server(start_server)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        await client.ask("hello")
        thread_id = client.thread_id
        share = {"threadId": thread_id, "isShared": True}
        (await client.http.put("/project/thread/share", json=share)).raise_for_status()
    async with ChatClient(server.base_url, "alice", PASSWORD, thread_id=thread_id) as client:
        unshare = {"threadId": thread_id, "isShared": False}
        (await client.http.put("/project/thread/share", json=unshare)).raise_for_status()
    await server.stop()  # a session stores its metadata at the latest now
    async with server.layer() as layer:
        assert not (await layer.get_thread(str(thread_id)))["metadata"].get("is_shared")


async def test_only_a_valid_login_identifies_a_user(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert (await client.http.get("/user")).json()["identifier"] == chat.name("alice")
        client.http.cookies.clear()
        assert (await client.http.get("/user")).status_code == httpx.codes.NO_CONTENT
        for forged in ({"Authorization": "Bearer nonsense"}, {"Cookie": "access_token=nonsense"}):
            assert (await client.http.get("/user", headers=forged)).status_code == httpx.codes.NO_CONTENT
            assert (await client.http.post("/project/threads", headers=forged, json={})).is_client_error


async def test_a_disabled_account_is_locked_out_within_seconds(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("hello")
        async with chat.layer() as layer:
            await layer.set_disabled(chat.name("alice"), True)
        await until(lambda: _is_locked_out(client))
        await client.send("still there?")
        await client.until(lambda: not client.connected)
        with pytest.raises(httpx.HTTPStatusError):
            await client.log_in()


async def _is_locked_out(client: ChatClient) -> bool:
    return (
        await client.http.post("/project/threads", json={"pagination": {"first": 1}, "filter": {}})
    ).status_code == 401


async def test_a_new_password_ends_earlier_logins(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await asyncio.sleep(1)  # the time of a login is in whole seconds
        async with chat.layer() as layer:
            await layer.set_password(chat.name("alice"), await chat.server.hashed("another password"))
        await until(lambda: _is_locked_out(client))
    async with chat.client("alice", "another password") as client:
        assert await client.ask("hello") == "You said: hello"


async def test_concurrent_questions_are_all_stored_and_answered(chat: Chat) -> None:
    """From one tab, and from two tabs on one thread with stored times in the future."""
    async with chat.client("alice") as first:
        for number in range(4):
            await first.send(f"fast {number}")
        await first.until(lambda: sum(name == "task_end" for name, _ in first.events) >= 5)
        # The ends of tasks are not enough: a page that connects anew gets one more of them.
        thread = await until(lambda: _of_length(first, 8))
        asked = [step["output"] for step in thread["steps"] if step["type"] == "user_message"]
        assert asked == [f"fast {number}" for number in range(4)]
        async with chat.layer() as layer:
            for kept in thread["steps"]:
                await layer.update_step({**kept, "createdAt": kept["createdAt"].replace("2026", "2036")})
        async with chat.client("alice", thread_id=first.thread_id) as second:
            await asyncio.gather(
                first.send("from the first", modes=use("context-echo")),
                second.send("from the second", modes=use("context-echo")),
            )
            after = messages(await until(lambda: _of_length(first, 12)))
        assert {"from the first", "from the second", *asked} <= set(after)
        contexts = [message for message in after if message.startswith("[{")]
        assert len(contexts) == 2
        assert all("fast 0" in context for context in contexts), "the context is the thread, despite its times"


async def _of_length(client: ChatClient, messages_stored: int) -> dict[str, Any] | None:
    """The stored thread, when so many messages are in it and all are complete."""
    thread = await stored(client)
    complete = [step for step in thread["steps"] if not step.get("streaming")]
    return thread if len(messages({**thread, "steps": complete})) == messages_stored else None


async def test_an_edit_stops_the_answer_in_progress(chat: Chat) -> None:
    async with chat.client("alice") as client:
        seen = len(client.events)
        question = await client.send("go on", modes=use("slow:60:0.1"))
        await client.until(lambda: "word-3" in client.answer)
        step = {
            "id": question,
            "output": "go on",
            "threadId": client.thread_id,
            "type": "user_message",
            "name": chat.name("alice"),
        }
        for text in ("first edit", "second edit"):
            changed, since = {**step, "output": text}, len(client.events)
            await client.emit("edit_message", {"message": changed})
            await client.until(lambda since=since: started(client, since))  # type: ignore[misc]
            await client.until(lambda: "word-3" in client.answer)
        await client.emit("stop")
        await client.until(lambda: "Stopped here." in client.answer)
        await client.until(lambda: sum(name == "task_end" for name, _ in client.events[seen:]) >= 3)
        kept = messages(await stored(client))
        assert len(kept) == 2
        assert kept[0] == "second edit"
        assert kept[1].startswith("word-1")
        assert kept[1].endswith("*Stopped here.*")


async def test_a_reopened_page_shows_the_answer_in_progress(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.send("go on", modes=use("slow:60:0.1"))
        await client.until(lambda: "word-5" in client.answer)
        thread_id = client.thread_id
    async with chat.client("alice", thread_id=thread_id) as client:
        assert "word-5" in client.answer
        await client.until(lambda: client.answer.rstrip().endswith("word-60"))
        # Opening the page has sent this event before the answer continued.
        await client.until(lambda: [name for name, _ in client.events if name.startswith("task_")][-1] == "task_end")
        assert messages(await stored(client))[1] == client.answer


async def test_a_question_in_a_deleted_thread_is_refused_with_a_reason(start_server: StartServer) -> None:
    server = await chat_server(start_server)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        await client.ask("hello")
        body = {"threadId": client.thread_id}
        (await client.http.request("DELETE", "/project/thread", json=body)).raise_for_status()
        await client.ask("still there?")
        assert "was deleted" in client.answer
    await server.stop()
    async with server.layer() as layer:
        assert await layer.get_thread(str(client.thread_id)) is None


async def test_opening_another_users_thread_starts_a_new_thread(chat: Chat) -> None:
    async with chat.client("alice") as alice:
        await alice.ask("mine")
        await titled(alice)
        before = await stored(alice)
        bob = chat.client("bob", thread_id=alice.thread_id)
        await bob.log_in()
        try:
            await bob.connect(resumes=False)
            await bob.event("resume_thread_error")
            assert await bob.ask("and mine?") == "You said: and mine?"
            assert bob.thread_id != alice.thread_id
            assert messages(await stored(bob)) == ["and mine?", "You said: and mine?"]
        finally:
            await bob.close()
        assert await stored(alice) == before


@pytest.mark.parametrize("began", [False, True], ids=["before its chat began", "after its chat began"])
async def test_a_thread_is_resumed_although_its_session_began_without_it(chat: Chat, began: bool) -> None:
    async with chat.client("alice") as before:
        await before.ask("first")
    left, page = chat.client("alice"), chat.client("alice", thread_id=before.thread_id)
    page.session_id = left.session_id
    try:
        await left.log_in()
        await page.log_in()
        await (left.connect() if began else left.open_socket())
        await page.connect()
        assert page.answer == "You said: first"
        assert await page.ask("second") == "You said: second"
        assert messages(await stored(page)) == ["first", "You said: first", "second", "You said: second"]
    finally:
        await left.close()
        await page.close()


async def test_a_socket_that_the_page_has_left_cannot_take_the_session_over(chat: Chat) -> None:
    async with chat.client("alice") as before:
        await before.ask("first")
    left = chat.client("alice")
    try:
        await left.log_in()
        async with chat.client("alice", thread_id=before.thread_id) as page:
            left.session_id = page.session_id
            with pytest.raises(socketio.exceptions.ConnectionError):
                await left.open_socket()
            assert await page.ask("second") == "You said: second"
    finally:
        await left.close()


async def test_a_thread_is_resumed_if_the_connection_broke_before(chat: Chat) -> None:
    async with chat.client("alice") as before:
        await before.ask("first")
    broken, page = (chat.client("alice", thread_id=before.thread_id) for _ in range(2))
    page.session_id = broken.session_id
    try:
        await broken.log_in()
        await page.log_in()
        await broken.open_socket()
        await broken.close()
        await page.connect()
        assert page.answer == "You said: first"
    finally:
        await page.close()


@pytest.mark.parametrize("early", [True, False], ids=["before the page is connected", "before the thread has come"])
async def test_a_question_that_is_asked_before_its_page_has_the_thread_is_shown_after_it(
    chat: Chat, early: bool
) -> None:
    async with chat.client("alice") as before:
        await before.ask("first")
    page = chat.client("alice", thread_id=before.thread_id)
    try:
        await page.log_in()
        await page.open_socket()
        if not early:
            await page.emit("connection_successful")
        question_id = await page.send("second")
        # A page shows its question itself, until it gets the thread.
        page.steps[question_id] = {"type": "user_message", "output": "second"}
        if early:
            await page.emit("connection_successful")
        await page.event("resume_thread")
        await page.until(lambda: page.answer == "You said: second")
        assert page.steps[question_id]["output"] == "second"
        order = [
            name
            for name, data in page.events
            if name == "resume_thread" or (name == "new_message" and data["id"] == question_id)
        ]
        assert order == ["resume_thread", "new_message"]
        assert messages(await stored(page)) == ["first", "You said: first", "second", "You said: second"]
    finally:
        await page.close()


@pytest.mark.parametrize("closed", [True, False], ids=["the page has closed it", "the page is about to close it"])
async def test_a_page_that_replaces_its_socket_gets_again_what_its_chat_begins_with(chat: Chat, closed: bool) -> None:
    left, page = chat.client("alice"), chat.client("alice")
    page.session_id = left.session_id
    try:
        await left.log_in()
        await page.log_in()
        await left.connect()
        await left.call("chat_settings_change", {"temperature": 0.25})
        if closed:
            await left.close()
        await page.connect(starts=False)
        settings = await page.event("chat_settings")
        assert [one["initial"] for one in settings if one["id"] == "temperature"] == [0.25], "what the user has set"
        modes, commands = await page.event("set_modes"), await page.event("set_commands")
        assert (modes, commands) == (await left.event("set_modes"), await left.event("set_commands"))
        assert await page.ask("hello") == "You said: hello"
        assert messages(await stored(page)) == ["hello", "You said: hello"]
        assert [name for name, _ in page.events if name in ("chat_settings", "set_modes")] == [
            "chat_settings",
            "set_modes",
        ]
        (body,) = [one.body for one in chat.model_server.requests if one.model == "echo"]
        assert body["temperature"] == 0.25
    finally:
        await left.close()
        await page.close()


async def test_a_socket_that_names_a_missing_thread_gets_what_its_chat_begins_with(chat: Chat) -> None:
    left, page = (chat.client("alice", thread_id=str(uuid.uuid4())) for _ in range(2))
    page.session_id = left.session_id
    try:
        await left.log_in()
        await page.log_in()
        await left.connect(resumes=False)
        await left.close()
        await page.connect(resumes=False, starts=False)
        await page.event("set_commands")
        assert await page.ask("hello") == "You said: hello"
        assert messages(await stored(page)) == ["hello", "You said: hello"]
    finally:
        await left.close()
        await page.close()


async def test_only_the_last_question_can_be_retried(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("boom", modes=use("500"))
        action = client.button("try_again")
        assert action is not None
        await client.ask("something else")
        assert any(name == "remove_action" for name, _ in client.events), "the button is removed from the page"
        # The title is stored concurrently with the turn. After it, nothing else changes the thread.
        await titled(client)
        before = await stored(client)
        await client.http.post("/project/action", json={"sessionId": client.session_id, "action": action})
        await client.event("toast")
        assert await stored(client) == before


async def test_a_very_long_question_is_stored_and_refused_with_its_size(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("word " * 400_000)
        assert "tokens" in client.answer
        assert len(messages(await stored(client))[0]) == 2_000_000


async def test_a_failed_write_is_reported_on_the_page(start_server: StartServer) -> None:
    server = await chat_server(start_server)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        await client.ask("hello")
        async with server.layer() as layer, layer.database.write() as connection:
            await connection.execute(text("ALTER TABLE steps RENAME TO steps_away"))
        await client.send("will this be kept?")
        await client.until(lambda: any(name == "toast" and data["type"] == "error" for name, data in client.events))
        toast = next(data for name, data in client.events if name == "toast")
        assert "could not be saved" in toast["message"]
        assert "was not stored" in server.log


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_behind_https_the_cookies_of_a_login_are_secure(start_server: StartServer) -> None:
    server = await start_server(CHAINLIT_URL="https://chat.example.com")
    await server.add_user("alice", PASSWORD)
    async with httpx.AsyncClient(base_url=server.base_url, **PLAIN_HTTP) as client:
        answer = await client.post("/login", data={"username": "alice", "password": PASSWORD})
    cookies = answer.raise_for_status().headers.get_list("set-cookie")
    assert cookies
    assert all("; secure" in cookie.lower() for cookie in cookies)


async def test_a_file_waits_for_the_session_in_which_it_is_attached(chat: Chat) -> None:
    """After "New chat", the page sends a file for its new session before it opens the socket of this session."""
    await chat.add_user("nora")
    client = chat.client("nora")
    try:
        await client.log_in()
        uploading = asyncio.create_task(client.upload("note.txt", b"the password is swordfish", "text/plain"))
        await asyncio.sleep(0.3)
        assert not uploading.done()
        await client.connect()
        seen = len(client.events)
        await client.send("what is in it?", modes=use("context-echo"), files=[await uploading])
        await client.until(lambda: ended(client, seen))
        assert "swordfish" in client.answer
    finally:
        await client.close()
    async with httpx.AsyncClient(base_url=chat.base_url, **PLAIN_HTTP) as visitor:
        refused = await visitor.post("/project/file", params={"session_id": "x"}, files={"file": ("a.txt", b"a")})
        assert refused.status_code == httpx.codes.UNAUTHORIZED, "a visitor does not wait"


async def test_an_exchange_that_a_program_keeps_arrives_in_the_open_page(chat: Chat) -> None:
    """`store` at `/v1`, with the thread that the page shows."""
    async with chat.layer() as layer:
        _, secret = await layer.create_api_key("tests", ["gateway", "threads:write"], user=chat.name("alice"))
    async with chat.client("alice") as page, httpx.AsyncClient(base_url=chat.base_url, **PLAIN_HTTP) as program:
        await page.ask("first")
        asked = {"model": "echo", "messages": [{"role": "user", "content": "second"}], "store": True}
        asked["metadata"] = {"thread_id": page.thread_id}
        answer = await program.post("/v1/chat/completions", json=asked, headers={"x-api-key": secret}, timeout=60)
        assert answer.raise_for_status().json()["metadata"] == asked["metadata"]
        await page.until(lambda: page.answer == "You said: second")
        shown = [step["output"] for step in page.steps.values() if step["type"].endswith("_message")]
        assert shown == ["You said: first", "second", "You said: second"], "a page does not hear its own questions"
        assert messages(await stored(page)) == ["first", *shown]
        assert await page.ask("third") == "You said: third"


@asynccontextmanager
async def program_beside(chat: Chat, name: str) -> AsyncIterator[tuple[ChatClient, httpx.AsyncClient]]:
    """The open page of a new user, and a program of this user."""
    await chat.add_user(name)
    async with chat.layer() as layer:
        _, secret = await layer.create_api_key("tests", ["threads:read", "threads:write"], user=chat.name(name))
    headers, base = {"x-api-key": secret}, f"{chat.base_url}/api/v1"
    async with (
        chat.client(name) as page,
        httpx.AsyncClient(base_url=base, headers=headers, **PLAIN_HTTP, timeout=60) as program,
    ):
        yield page, program


async def edited_by(program: httpx.AsyncClient, page: ChatClient, text: str, **fields: Any) -> str:
    """A program edits the first question of the page; returns its id."""
    asked = next(step["id"] for step in (await stored(page))["steps"] if step["type"] == "user_message")
    address = f"/threads/{page.thread_id}/messages/{asked}/edit"
    answer = await program.post(address, json={"content": text, **fields})
    assert answer.status_code in (200, 202), answer.text
    return str(asked)


def said_to(answer: str) -> list[str]:
    """What the model got, by the answer of `context-echo`, without the system prompt."""
    return [one["content"] for one in json.loads(answer) if one["role"] != "system"]


async def test_a_page_goes_on_with_what_a_program_has_edited(chat: Chat) -> None:
    async with program_beside(chat, "edna") as (page, program):
        await page.ask("first")
        asked = await edited_by(program, page, "second")
        # Before the page has looked at the thread again.
        anew = {"name": "regenerate", "payload": {"question_id": asked}, "label": "", "id": str(uuid.uuid4())}
        seen = len(page.events)
        await page.http.post("/project/action", json={"sessionId": page.session_id, "action": {**anew, "forId": asked}})
        await page.until(lambda: ended(page, seen))
        assert messages(await stored(page)) == ["second", "You said: second"]
        await edited_by(program, page, "third")
        assert said_to(await page.ask("fourth", modes=use("context-echo"))) == ["third", "You said: third", "fourth"]


async def test_a_page_edits_a_question_that_a_program_has_just_asked(chat: Chat) -> None:
    async with program_beside(chat, "egon") as (page, program):
        await page.ask("first")
        turn = await program.post(f"/threads/{page.thread_id}/messages", json={"content": "second"})
        question = turn.raise_for_status().json()["question"]
        seen = len(page.events)
        edited = {"id": question["id"], "output": "third", "type": "user_message"}
        await page.emit("edit_message", {"message": edited, "fileReferences": None})
        await page.until(lambda: ended(page, seen))
        assert messages(await stored(page)) == ["first", "You said: first", "third", "You said: third"]


async def test_a_page_goes_on_when_a_program_has_edited_in_the_background(chat: Chat) -> None:
    async with program_beside(chat, "elma") as (page, program):
        await page.ask("elma's first")
        await page.ask("elma's second")
        await edited_by(program, page, "elma's third", background=True)
        await page.ask("elma's fourth")

        async def are_answered() -> bool:
            return len(messages(await stored(page))) == 4

        await until(are_answered)
        asked = [one["output"] for one in (await stored(page))["steps"] if one["type"] == "user_message"]
        assert asked == ["elma's third", "elma's fourth"]
        requests = [one.body["messages"] for one in chat.model_server.requests if one.model == "echo"]
        # The page may ask before the job does.
        sent = next(said for said in requests if said[-1]["content"].endswith("elma's fourth"))
        texts = "".join(one["content"] for one in sent)
        assert "elma's third" in texts
        assert not [one for one in ("elma's first", "elma's second") if one in texts]
