"""The two apps in examples/, started as described in their README."""

import sys
from pathlib import Path
from typing import Any

import pytest

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.chat_client import ChatClient
from tests.support.patience import until
from tests.support.postgres import Databases
from tests.support.records import new_id
from tests.support.server import ROOT, AppServer

pytestmark = pytest.mark.slow

SECRET = "a secret for the tests, long enough to sign with"


def example(name: str, directory: Path, database_url: str) -> AppServer:
    program = [sys.executable, "-m", "chainlit", "run", str(ROOT / "examples" / name / "app.py"), "--headless"]
    return AppServer(directory, database_url, {"CHAINLIT_AUTH_SECRET": SECRET}, [*program, "--port", "{port}"])


async def stored_elements(layer: ChainlitLayer, thread_id: str, count: int) -> dict[str, Any]:
    """The elements of a thread by name. Waits for this many, because Chainlit stores them in background tasks."""

    async def elements() -> dict[str, Any] | None:
        thread = await layer.get_thread(thread_id)
        found = {element["name"]: element for element in (thread or {}).get("elements") or []}
        return found if len(found) >= count else None

    return await until(elements)


async def test_the_sqlite_app_resumes_a_thread_after_a_restart(tmp_path: Path) -> None:
    async with example("sqlite", tmp_path / "app", f"sqlite:///{tmp_path / 'app' / 'chat.db'}") as server:
        async with ChatClient(server.base_url, "ann", "demo") as client:
            assert await client.ask("two words") == "You wrote: two words"
            await client.event("first_interaction")
        await server.restart()
        async with ChatClient(server.base_url, "ann", "demo", thread_id=client.thread_id) as client:
            resumed = [(step["type"], step["output"]) for step in client.steps.values()]
        assert ("tool", "2 words") in resumed
        assert ("assistant_message", "You wrote: two words") in resumed
        async with server.layer() as layer:
            thread = await layer.get_thread(client.thread_id or "")
        assert thread is not None
        assert [step["output"] for step in thread["steps"] if step["type"] == "user_message"] == ["two words"]


async def test_the_postgres_app_keeps_files_and_votes_for_their_owner(tmp_path: Path, postgres: Databases) -> None:
    url = postgres.create()
    try:
        async with (
            example("postgres", tmp_path / "app", url) as server,
            ChatClient(server.base_url, "ann", "demo") as ann,
            ChatClient(server.base_url, "eve", "demo") as eve,
        ):
            file_id = await ann.upload("note.txt", b"a note", "text/plain")
            await ann.send("keep this", files=[file_id])
            await ann.until(lambda: ann.answer == "You wrote: keep this")
            thread_id = (await ann.event("first_interaction"))["thread_id"]
            async with server.layer() as layer:
                names = await stored_elements(layer, thread_id, 2)
            assert names.keys() == {"note.txt", "copy of note.txt"}
            link = f"/files/{thread_id}/{names['copy of note.txt']['id']}"
            assert (await ann.http.get(link)).text == "a note"
            assert (await eve.http.get(link)).status_code == 404

            answer_id = ann.answers()[-1]["id"]
            vote = {"id": new_id(), "forId": answer_id, "value": 0, "comment": "too short", "threadId": thread_id}
            refused = await eve.http.put("/feedback", json={"feedback": vote, "sessionId": eve.session_id})
            assert refused.status_code >= 400
            kept = await ann.http.put("/feedback", json={"feedback": vote, "sessionId": ann.session_id})
            assert kept.is_success
            listed = (await ann.http.get("/bad-answers")).json()
            assert listed == [{"thread": thread_id, "comment": "too short"}]
            assert (await eve.http.get("/bad-answers")).json() == []
    finally:
        postgres.drop(url)


def test_the_examples_import_only_the_library() -> None:
    for app in (ROOT / "examples").glob("*/app.py"):
        assert "threadkeeper" not in app.read_text(encoding="utf-8")
