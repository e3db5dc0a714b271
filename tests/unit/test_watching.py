"""The live view of threads: what another process stores goes to the page, whatever other pages send or fail at."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from chainlit.chat_context import chat_contexts
from chainlit.context import init_ws_context
from chainlit.message import Message
from chainlit.session import WebsocketSession, ws_sessions_id, ws_sessions_sid

from datalayer import StorageUnavailable
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_elements import text_element
from tests.support.records import new_id, step, thread, user_id
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.wording import say
from threadkeeper.conversation.claims import Claims
from threadkeeper.conversation.notices import notice
from threadkeeper.conversation.offers import offer, prompt_buttons, remove_offers
from threadkeeper.conversation.opening import open_again
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.conversation.watching import Watch, change_of
from threadkeeper.settings.settings import Settings


class Page(WebsocketSession):
    """An open page of alice; `got` are the events that it got, and `meanwhile` is done with the next one."""

    def __init__(self, user: Any, thread_id: Any) -> None:
        self.got: list[tuple[str, Any]] = []
        self.meanwhile = list[Callable[[], None]]()

        async def emit(event: str, data: Any) -> None:
            self.got.append((event, data))
            while self.meanwhile:
                self.meanwhile.pop()()

        super().__init__(new_id(), new_id(), emit, emit, {}, "webapp", thread_id=thread_id, user=user)  # type: ignore[arg-type]
        self.has_first_interaction = True

    def of(self, event: str) -> list[str]:
        """The ids of what came with this event."""
        return [data["id"] for name, data in self.got if name == event]


pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Open = Callable[[Any], Page]


@pytest.fixture
async def owner(layer: ChainlitLayer) -> str:
    return await user_id(layer, "alice")


@pytest.fixture
async def open_page(layer: ChainlitLayer, owner: str) -> AsyncIterator[Open]:
    user, opened = await layer.get_user("alice"), list[Page]()

    def opening(thread_id: Any) -> Page:
        opened.append(Page(user, thread_id))
        return opened[-1]

    yield opening
    for page in opened:
        ws_sessions_id.pop(page.id)
        ws_sessions_sid.pop(page.socket_id)
        chat_contexts.pop(page.id, None)


@pytest.fixture
def turns(layer: ChainlitLayer) -> Turns:
    return Turns(Claims(layer))


@pytest.fixture
def watch(layer: ChainlitLayer, turns: Turns) -> Watch:
    return Watch(layer, turns, lambda *_, **__: False, has_footers=False)


@pytest.fixture
def conversations(layer: ChainlitLayer) -> Conversations:
    return Conversations(layer, DemoModel(), Settings())


async def test_no_page_can_end_the_view_of_others(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open
) -> None:
    thread_id = await thread(layer, owner)
    wrong: list[Any] = ["garbage", {"a": []}, 7, new_id()]
    for sent in wrong:
        open_page(sent)
    page, upper = open_page(thread_id), open_page(thread_id.upper())
    await watch._look()
    await layer.create_step(asked := step(thread_id))
    await watch._look()
    assert page.of("new_message") == upper.of("new_message") == [asked["id"]]


async def test_a_failed_read_is_made_again_and_leaves_other_pages_alone(
    layer: ChainlitLayer,
    owner: str,
    watch: Watch,
    open_page: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread_id, other = await thread(layer, owner), await thread(layer, owner)
    page, later = open_page(thread_id), open_page(other)
    await watch._look()
    steps = [step(one) for one in (thread_id, other)]
    for one in steps:
        await layer.create_step(one)
    read = layer.get_thread

    async def fail(wanted: str) -> Any:
        if wanted == thread_id:
            raise StorageUnavailable("the database is away")
        return await read(wanted)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(layer, "get_thread", fail)
        for _ in range(2):
            await watch._look()
    assert (page.of("new_message"), later.of("new_message")) == ([], [steps[1]["id"]])
    (record,) = caplog.records
    assert (getattr(record, "thread_id", ""), getattr(record, "session_id", "")) == (thread_id, page.id)
    await watch._look()
    assert page.of("new_message") == [steps[0]["id"]]


async def test_a_file_is_sent_again_with_its_question(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open
) -> None:
    thread_id = await thread(layer, owner)
    page, file, asked = open_page(thread_id), text_element(thread_id, "", "hours"), step(thread_id)
    await watch._look()
    file.for_id = None
    await layer.create_element(file)
    await layer.create_step(step(thread_id))
    await watch._look()
    await layer.attach_elements(thread_id, [file.id], asked["id"])
    await layer.create_step(asked)
    for _ in range(2):
        await watch._look()
    sent = [(data["id"], data["forId"]) for event, data in page.got if event == "element"]
    assert sent == [(file.id, None), (file.id, asked["id"])]


async def test_an_answer_that_is_finished_while_its_thread_is_opened_does_not_stay_cut(
    layer: ChainlitLayer, owner: str, conversations: Conversations, open_page: Open
) -> None:
    thread_id = await thread(layer, owner)
    page, answer = open_page(thread_id), step(thread_id, "Half of", type="assistant_message", streaming=True)
    await layer.create_step(answer)
    read = await layer.get_thread(thread_id)
    # The other process stores the end, and ends its claim.
    await layer.update_step(answer | {"output": "Half of it and the rest", "streaming": False})
    change = change_of(read, is_claimed=await conversations.watch.is_written_elsewhere(read))
    conversations._join(page, read, "en", change)
    assert "rest" not in read["steps"][0]["output"]
    for _ in range(2):
        await conversations.watch._look()
    assert [data["output"] for event, data in page.got if event == "new_message"] == ["Half of it and the rest"]


async def test_a_question_of_a_thread_that_cannot_be_read_is_not_said_to_be_lost(
    layer: ChainlitLayer,
    owner: str,
    conversations: Conversations,
    open_page: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread_id = await thread(layer, owner)
    page = open_page(thread_id)
    init_ws_context(page)
    conversations.parts[0].of(page).resumed = True

    async def fail(_wanted: str) -> Any:
        raise StorageUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(layer, "get_thread", fail)
        await conversations.answer(asked := Message("Where?", type="user_message"))
    said = [data["output"] for event, data in page.got if event == "new_message"]
    assert said == [say("question_not_answered", "en")]
    assert [data["payload"]["question_id"] for event, data in page.got if event == "action"] == [asked.id]


@pytest.mark.parametrize("comes_first", ["the opening", "the question"])
async def test_a_first_question_while_the_opening_is_sent_again_leaves_no_button(
    conversations: Conversations, open_page: Open, monkeypatch: pytest.MonkeyPatch, comes_first: str
) -> None:
    page, (turns, answering) = open_page(None), conversations.parts
    init_ws_context(page)
    await offer(turns, page, prompt_buttons(["One", "Two"], new_id(), "en"), new_id())
    page.got.clear()
    both: list[Callable[[], Awaitable[None]]] = [
        partial(open_again, turns, answering.default, "en", read_seconds=60),
        partial(remove_offers, turns.of(page)),
    ]
    begin, then = both if comes_first == "the opening" else both[::-1]
    meanwhile = [then]

    async def emitted(event: str, data: Any) -> None:
        page.got.append((event, data))
        if event == "remove_action" and meanwhile:
            await meanwhile.pop()()

    monkeypatch.setattr(page, "emit", emitted)
    await begin()
    assert (page.of("action"), meanwhile, len({*page.of("remove_action")})) == ([], [], 2)


async def test_the_context_of_a_turn_that_begins_meanwhile_is_kept(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open, turns: Turns
) -> None:
    thread_id = await thread(layer, owner)
    page, theirs, mine = open_page(thread_id), step(thread_id), step(thread_id)
    init_ws_context(page)
    await watch._look()
    running = asyncio.create_task(asyncio.sleep(3600))

    def say(message: Message) -> None:
        chat_contexts.setdefault(page.id, []).append(message)

    def begin() -> None:
        say(Message("Mine", type="user_message", id=mine["id"]))
        turns.of(page).running.append(running)

    page.meanwhile.append(begin)
    await layer.create_step(theirs)
    # The turn goes on for more than one look.
    for _ in range(2):
        await watch._look()
        assert [one.id for one in chat_contexts[page.id]] == [mine["id"]]
    await layer.create_step(mine)
    running.cancel()
    await asyncio.wait([running])
    later = Message("Later", type="user_message")
    page.meanwhile.append(lambda: say(later))
    await watch._look()
    # The notices of a resumed thread are in it too.
    wanted = [theirs["id"], mine["id"], later.id]
    assert [one.id for one in chat_contexts[page.id] if one.id in wanted] == wanted


async def test_what_another_process_stores_at_the_end_of_a_turn_is_shown(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open, turns: Turns
) -> None:
    thread_id = await thread(layer, owner)
    page, mine, theirs = open_page(thread_id), step(thread_id), step(thread_id)
    init_ws_context(page)
    await watch._look()
    running = asyncio.create_task(asyncio.sleep(3600))
    turns.of(page).running.append(running)
    chat_contexts[page.id] = [Message("Mine", type="user_message", id=mine["id"])]
    await layer.create_step(mine)
    await watch._look()
    await layer.create_step({**theirs, "createdAt": "2126-01-01T00:00:00Z"})
    running.cancel()
    await asyncio.wait([running])
    for _ in range(2):
        await watch._look()
    assert page.of("new_message") == [theirs["id"]]


async def test_after_a_turn_of_its_own_a_page_is_not_read_again(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await thread(layer, owner)
    page, mine = open_page(thread_id), step(thread_id)
    init_ws_context(page)
    await watch._look()
    running = asyncio.create_task(asyncio.sleep(3600))
    turns.of(page).running.append(running)
    chat_contexts[page.id] = [Message("Mine", type="user_message", id=mine["id"])]
    await watch._look()
    await layer.create_step(mine)
    running.cancel()
    await asyncio.wait([running])
    # A read would fail, and be logged.
    monkeypatch.setattr(layer, "get_thread", None)
    for _ in range(2):
        await watch._look()
    assert not watch._shown[page].is_failing
    assert page.got == []


async def test_a_short_turn_between_two_looks_is_on_the_page_already_and_a_notice_stays(
    layer: ChainlitLayer, owner: str, watch: Watch, open_page: Open
) -> None:
    thread_id = await thread(layer, owner)
    page, mine, theirs = open_page(thread_id), step(thread_id), step(thread_id)
    init_ws_context(page)
    await layer.create_step(first := step(thread_id))
    whole = await layer.get_thread(thread_id)
    assert whole is not None
    told = notice("The assistant no longer exists.").to_dict()
    watch.note(page, {**whole, "steps": [*whole["steps"], told]}, change_of(whole, is_claimed=False))
    await layer.create_step(mine)
    chat_contexts[page.id] = [Message("Mine", type="user_message", id=mine["id"])]
    await watch._look()
    assert page.got == []
    await layer.create_step({**theirs, "createdAt": "2126-01-01T00:00:00Z"})
    await watch._look()
    assert page.of("new_message") == [theirs["id"]]
    await layer.delete_step(first["id"])
    await watch._look()
    assert page.of("delete_message") == [first["id"]]
