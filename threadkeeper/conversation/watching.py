"""Shows on a page what other processes store in its thread, as the answers to programs that they serve.

What this process stores is sent to its pages as it happens. For the rest, it looks once a second, in one statement for
all pages, whether their threads have changed. If one has, it is read, and the steps that the page does not have go to
the page as Chainlit's events, which replace a step that is there already.
"""

import asyncio
import contextvars
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from chainlit.chat_context import chat_contexts
from chainlit.context import init_ws_context
from chainlit.message import Message
from chainlit.session import WebsocketSession, ws_sessions_id

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from datalayer.errors import DataLayerError
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.turns.turns import MOST_WATCHED, ThreadChange
from threadkeeper.chat.context.refusals import refused_ids
from threadkeeper.chat.context.steps import is_notice
from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.looking import Looking
from threadkeeper.conversation.offers import offer_for_thread, remove_offers
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.conversation.usage_footer import show_footers

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
_BEFORE = ("user_message", "run")
"""Types of steps with which a thread does not end."""


class Mark(Protocol):
    """As `threadkeeper.conversation.session.Conversations.mark`."""

    def __call__(self, thread: dict[str, Any], language: str, *, is_alive: bool) -> bool: ...


@dataclass(slots=True)
class _Shown:
    """What a page shows.

    `change` is the state of the thread that is on the page; None before the first look. `steps` are the prints of the
    steps, and `elements` the steps of the elements, by id, of which this process knows that they are there; None if
    that is to be found out. `is_owed` is whether a change waits to be sent.
    """

    change: ThreadChange | None = None
    steps: dict[str, int] | None = None
    elements: dict[str, str | None] = field(default_factory=dict)
    was_fed: bool = False
    is_owed: bool = False
    is_failing: bool = False


class Watch(Looking):
    """The pages of this process whose threads are watched."""

    def __init__(self, layer: ChainlitLayer, turns: Turns, mark: Mark, *, has_footers: bool) -> None:
        super().__init__("watch-threads")
        self._layer, self._turns, self._mark = layer, turns, mark
        self._has_footers = has_footers
        self._shown: WeakKeyDictionary[WebsocketSession, _Shown] = WeakKeyDictionary()
        self._is_away = False

    async def is_written_elsewhere(self, thread: Mapping[str, Any]) -> bool:
        """Whether another process writes an answer of this ThreadDict now."""
        steps = thread["steps"]
        is_whole = not any(step.get("streaming") for step in steps) and not (steps and steps[-1]["type"] in _BEFORE)
        if is_whole or self._turns.tasks_of(thread["id"]):
            return False
        try:
            with acting_as(SYSTEM):
                change = (await self._layer.thread_changes([thread["id"]])).get(thread["id"])
        except DataLayerError as error:
            logger.warning("an unfinished answer is shown as cut off: %s", error, extra={"thread_id": thread["id"]})
            return False
        return change is not None and change.is_claimed

    def note(
        self, session: WebsocketSession, thread: Mapping[str, Any], change: ThreadChange, *, is_cut: bool = False
    ) -> None:
        """The page gets this ThreadDict whole, now.

        Args:
            change: its state as it is stored.
            is_cut: an answer in it is marked as cut off. Its process may have finished it after the thread was read,
                so the thread is read once more.
        """
        self._shown[session] = _Shown(
            change,
            # A notice is perhaps on this page alone, and not deleted because it is stored nowhere.
            steps={step["id"]: _print(step) for step in thread["steps"] if not is_notice(step)},
            elements={element["id"]: element.get("forId") for element in thread.get("elements") or ()},
            is_owed=is_cut,
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                await self._look()
                self._is_away = False
            except DataLayerError as error:
                # Once for each time that the storage is away: its pages are told by their own reads and writes.
                if not self._is_away:
                    logger.warning("threads of other processes are not shown now: %s", error)
                self._is_away = True
            except Exception:
                logger.exception("the look at the threads of open pages failed")

    async def _look(self) -> None:
        pages = [page for page in list(ws_sessions_id.values()) if page.has_first_interaction and page.user is not None]
        # A client sends what it wants as the id of its thread.
        known = {page: thread_id for page in pages if (thread_id := known_id(page.thread_id)) is not None}
        ids, changes = list(dict.fromkeys(known.values())), dict[str, ThreadChange]()
        for begin in range(0, len(ids), MOST_WATCHED):
            with acting_as(SYSTEM):
                changes |= await self._layer.thread_changes(ids[begin : begin + MOST_WATCHED])
        of_programs = self._turns.threads_of_programs()
        for page, thread_id in known.items():
            if (change := changes.get(thread_id)) is not None:
                is_fed = thread_id in of_programs or bool(self._turns.running(page))
                await self._try(page, change, is_fed=is_fed)

    async def _try(self, page: WebsocketSession, change: ThreadChange, *, is_fed: bool) -> None:
        """`_compare`, whose failure leaves the other pages alone, and is logged once until it works again."""
        shown, ids = self._shown.setdefault(page, _Shown()), {"session_id": page.id, "thread_id": page.thread_id}
        try:
            await self._compare(page, shown, change, is_fed=is_fed)
            shown.is_failing = False
        except Exception as error:
            if not shown.is_failing:
                why = None if isinstance(error, DataLayerError) else error
                logger.warning("a change of a thread is not shown on a page now: %s", error, exc_info=why, extra=ids)
            shown.is_failing = True

    async def _compare(self, page: WebsocketSession, shown: _Shown, change: ThreadChange, *, is_fed: bool) -> None:
        """`is_fed`: a turn of this process sends its events to the page now."""
        before, shown.change = shown.change, change
        was_fed, shown.was_fed = shown.was_fed, is_fed
        # A short turn of this process begins and ends between two looks.
        has_more = before is not None and change.steps > before.steps and change.newest_id != before.newest_id
        if before is not None and before.newest_at is None and not change.is_claimed:
            # A page that was just opened: its steps are those that were counted.
            before = change._replace(steps=before.steps, is_claimed=before.is_claimed)
        if is_fed and shown.is_owed:
            # What is owed is not of the turn that runs now, and comes after it.
            shown.change = before
        elif (
            is_fed or before is None or ((was_fed or has_more) and not shown.is_owed and self._has_newest(page, change))
        ):
            # What this process stored is on the page already; what is there is found out when it is needed.
            shown.steps = None
        elif before != change or was_fed or shown.is_owed:
            if was_fed and not shown.is_owed:
                shown.steps = None
            sending, was_sent = self._send(page, shown, change), False
            try:
                was_sent = await asyncio.create_task(sending, context=contextvars.Context())
            finally:
                shown.is_owed = not was_sent
                if not was_sent:
                    # The next look tries again.
                    shown.change = before

    @staticmethod
    def _has_newest(page: WebsocketSession, change: ThreadChange) -> bool:
        """Whether the newest step is of the turn that has ended. If not, another process stored it since."""
        return change.newest_id in {None, *(one.id for one in chat_contexts.get(page.id, ()))}

    async def _send(self, page: WebsocketSession, shown: _Shown, change: ThreadChange) -> bool:
        """Send the page what it does not have; False if that has to wait."""
        acting_user.set(page.user.identifier if page.user is not None else None)
        init_ws_context(page)
        said = {one.id for one in chat_contexts.get(page.id, ())}
        thread = await self._layer.get_thread(page.thread_id)
        if thread is None:
            return True
        steps = shown.steps
        if steps is None:
            steps = shown.steps = _known(thread["steps"], said)
            shown.elements = {one["id"]: one["forId"] for one in thread["elements"] if one.get("forId") in steps}
        if self._turns.tasks_of(page.thread_id):
            # What a turn of this process has begun meanwhile is perhaps not in what was read.
            return False
        stored = {step["id"]: step for step in thread["steps"]}
        await self._prepare(page, thread, is_alive=change.is_claimed)
        send: Any = page.emit
        for step_id in steps.keys() - stored.keys():
            await send("delete_message", {"id": step_id, "threadId": page.thread_id})
        for step in thread["steps"]:
            if step["id"] in stored and steps.get(step["id"]) != _print(step):
                await send("new_message", step)
        for element in thread["elements"]:
            # A file that a program uploads gets its question later.
            if element["id"] not in shown.elements or shown.elements[element["id"]] != element.get("forId"):
                await send("element", element)
        if self._turns.tasks_of(page.thread_id) or self._shown.get(page) is not shown:
            # A turn has begun meanwhile, whose context this is, or the page got a thread whole.
            return False
        since = [one for one in chat_contexts.get(page.id, ()) if one.id not in said and one.id not in stored]
        self.note(page, {**thread, "steps": [step for step in thread["steps"] if step["id"] in stored]}, change)
        messages = [Message.from_dict(step) for step in thread["steps"] if "message" in step["type"]]
        chat_contexts[page.id] = messages + since
        return True

    async def _prepare(self, page: WebsocketSession, thread: dict[str, Any], *, is_alive: bool) -> None:
        """As for a thread that is resumed."""
        language, turns = language_of_session(), self._turns.of(page)
        turns.resumed = True
        turns.asked.update(step["id"] for step in thread["steps"] if step["type"] == "user_message")
        turns.refused = refused_ids(thread["steps"])
        if is_alive:
            await remove_offers(turns)
        else:
            ids = {step["id"] for step in thread["steps"]}
            await offer_for_thread(self._turns, page, thread, language, is_again=True, among=ids)
        self._mark(thread, language, is_alive=is_alive)
        if self._has_footers:
            await show_footers(thread["steps"], language, replace=True)


def change_of(thread: Mapping[str, Any], *, is_claimed: bool) -> ThreadChange:
    """The state of a ThreadDict as it was read."""
    return ThreadChange(None, len(thread["steps"]), None, None, is_claimed)


def _print(step: Mapping[str, Any]) -> int:
    """A hash of what a page shows of a step."""
    names = ("output", "streaming", "isError", "end", "input")
    return hash(repr([step.get(name) for name in names] + [(step.get("metadata") or {}).get("status")]))


def _known(steps: Sequence[Mapping[str, Any]], said: set[str]) -> dict[str, int]:
    """The steps up to the last message that was sent to the page, which are there as they are stored."""
    last = max((at for at, step in enumerate(steps) if step["id"] in said), default=-1)
    return {step["id"]: _print(step) for step in steps[: last + 1]}
