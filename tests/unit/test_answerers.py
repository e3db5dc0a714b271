"""The model picker of an open page follows what an admin decides, and keeps what the user has picked."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from chainlit.chat_context import chat_contexts
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession, ws_sessions_id, ws_sessions_sid

from datalayer.records.chat_models import ChatModel
from tests.support.records import new_id
from tests.unit.test_offered_models import Store, row
from threadkeeper.conversation.answerers import Answerers, offer_choices
from threadkeeper.conversation.assistants import DEFAULT_CHAT, Answerer
from threadkeeper.conversation.chat_settings import Choices
from threadkeeper.conversation.opening import open_again
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.offered_models import OfferedModels

NEITHER: Any = None
PICKED = {"model": "b"}


class Page(WebsocketSession):
    """An open page; `pickers` are those that it got: the models, the selected one in upper case."""

    def __init__(self) -> None:
        self.pickers: list[list[str]] = []

        async def emit(event: str, data: Any) -> None:
            if event == "set_modes":
                options = [option for mode in data for option in mode["options"]]
                self.pickers.append([one["id"].upper() if one["default"] else one["id"] for one in options])

        super().__init__(new_id(), new_id(), emit, emit, {}, "webapp")  # type: ignore[arg-type]


@pytest.fixture
def page() -> Iterator[Page]:
    opened = Page()
    yield opened
    ws_sessions_id.pop(opened.id)
    ws_sessions_sid.pop(opened.socket_id)
    chat_contexts.pop(opened.id, None)


@pytest.mark.parametrize(
    ("decided", "picker"),
    [
        ([row("c")], ["a", "B", "c"]),
        ([row("c", is_default=True)], ["c", "a", "B"]),
        ([row("b", False), row("c")], ["A", "c"]),
        ([row("b", False)], []),
    ],
)
async def test_a_new_picker_keeps_the_picked_model_while_it_is_on_offer(
    page: Page, decided: list[ChatModel], picker: list[str]
) -> None:
    init_ws_context(page)
    store, turns = Store(), Turns(NEITHER)
    offered = OfferedModels(("a", "b"), store, seconds=0)
    answerers = Answerers(NEITHER, turns, offered=offered, default_prompt="")
    turns.of(page).answerer = Answerer(offered=("a", "b"))
    await answerers.of_turn(page, PICKED, "en-US")
    assert page.pickers == []
    store.rows = decided
    for _ in range(2):
        await answerers.of_turn(page, PICKED, "en-US")
    assert page.pickers == [picker]


async def test_a_page_gets_its_picker_when_the_models_are_known(page: Page) -> None:
    init_ws_context(page)
    turns = Turns(NEITHER)
    answerers = Answerers(NEITHER, turns, offered=OfferedModels(("a", "b"), Store()), default_prompt="")
    await offer_choices(DEFAULT_CHAT, Choices("", None, None), {}, None, "en-US")
    assert page.pickers == []
    await answerers.of_turn(page, PICKED, "en-US")
    assert page.pickers == [["a", "B"]]


async def test_where_one_model_is_left_a_page_loses_the_picker_of_an_earlier_conversation(page: Page) -> None:
    init_ws_context(page)
    await offer_choices(Answerer(offered=("a",)), Choices("", None, None), {}, None, "en-US")
    assert page.pickers == [[]]


@pytest.mark.parametrize(
    ("seconds_ago", "pickers"), [(None, [["A", "b"]]), (5, [["A", "b"]]), (50, [])], ids=["failed", "unread", "read"]
)
async def test_a_page_that_has_read_its_opening_keeps_the_picked_model(
    page: Page, seconds_ago: int | None, pickers: list[list[str]]
) -> None:
    init_ws_context(page)
    turns = Turns(NEITHER)
    turns.of(page).answerer = Answerer(offered=("a", "b"))
    turns.of(page).opened_at = None if seconds_ago is None else time.monotonic() - seconds_ago
    await open_again(turns, Choices("", None, None), "en-US", read_seconds=45)
    assert page.pickers == pickers
