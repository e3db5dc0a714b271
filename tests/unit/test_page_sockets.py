"""The sockets of a page: what its session stores at the end, and when it has its thread."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import socketio  # type: ignore[import-untyped]
from chainlit.chat_context import chat_contexts
from chainlit.session import WebsocketSession, ws_sessions_id, ws_sessions_sid

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import acting_as
from tests.support.records import new_id, thread, user_id
from threadkeeper.conversation.arrivals import Arrivals
from threadkeeper.conversation.leaving import leave_as_user


class Page(WebsocketSession):
    def __init__(self, user: Any = None, thread_id: str | None = None) -> None:
        async def emit(_event: str, _data: Any) -> None:
            """Nothing is looked at."""

        super().__init__(new_id(), new_id(), emit, emit, {}, "webapp", thread_id=thread_id, user=user)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_sessions() -> Iterator[None]:
    yield
    for sessions in (ws_sessions_id, ws_sessions_sid, chat_contexts):
        sessions.clear()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_session_is_stored_in_the_name_of_its_user_whoever_the_task_began_for(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainlit.data._data_layer", layer)
    monkeypatch.setattr("chainlit.data._data_layer_initialized", True)
    server = socketio.AsyncServer(async_mode="asgi")
    leave_as_user(server)
    thread_id = await thread(layer, await user_id(layer, "alice"))
    page = Page(await layer.get_user("alice"), thread_id)
    page.has_first_interaction, page.to_clear, page.chat_settings = True, True, {"temperature": 0.5}
    with acting_as("bob"):
        await server.handlers["/"]["disconnect"](page.socket_id, "ping timeout")
    metadata: Any = (await layer.get_thread(thread_id) or {})["metadata"]
    assert metadata["chat_settings"] == {"temperature": 0.5}


async def test_a_question_waits_for_the_newest_socket_of_its_page(caplog: pytest.LogCaptureFixture) -> None:
    arrivals, page = Arrivals(), Page()
    first = page.socket_id
    arrivals.begin(page)
    waiting = asyncio.create_task(arrivals.over(page))
    await asyncio.sleep(0)
    page.restore(new_id())
    arrivals.begin(page)
    arrivals.end(page, first)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    arrivals.end(page, page.socket_id)
    await waiting
    # Nothing is on its way any more. A page that never comes would be told in the log.
    await arrivals.over(page)
    assert not caplog.text


async def test_a_page_that_never_takes_its_thread_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("threadkeeper.conversation.arrivals._LONGEST_WAIT_SECONDS", 0)
    arrivals, page = Arrivals(), Page()
    arrivals.begin(page)
    await arrivals.over(page)
    assert "a page did not take its thread" in caplog.text
