"""The turn of a program: the emitter of its session, which turns the events of a page into those of the program."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from chainlit.chat_context import chat_contexts
from chainlit.emitter import ChainlitEmitter
from chainlit.session import HTTPSession, WebsocketSession, ws_sessions_id
from chainlit.user_session import user_sessions

from datalayer.cleaning import utc_now
from threadkeeper.chat.context.steps import is_notice
from threadkeeper.conversation.chat_settings import MODEL
from threadkeeper.conversation.reply import text_to_continue
from threadkeeper.program_turns import TurnEvent, TurnResult


async def send_to_pages(thread_id: str, owner: str | None, event: str, data: Any) -> None:
    """Send an event of Chainlit to the pages of this user that have the thread open in this process."""
    for page in list(ws_sessions_id.values()):
        if page.thread_id == thread_id and getattr(page.user, "identifier", None) == owner:
            send: Any = page.emit
            await send(event, data)


def question_step(
    thread_id: str, owner: str, text: str, *, model: str | None = None, question_id: str | None = None
) -> dict[str, Any]:
    """The StepDict of a new question of a program."""
    return {
        "id": question_id or str(uuid.uuid4()),
        "threadId": thread_id,
        "parentId": None,
        "name": owner,
        "type": "user_message",
        "input": "",
        "output": text,
        "createdAt": utc_now(),
        "modes": {MODEL: model} if model is not None else None,
    }


async def end_session(session: HTTPSession) -> None:
    """Forget the session of a program, as Chainlit does when a page is closed."""
    for kept in (chat_contexts, user_sessions):
        cast("dict[str, Any]", kept).pop(session.id, None)
    await session.delete()


def answer_of(steps: Sequence[dict[str, Any]], question_id: str) -> tuple[str | None, list[dict[str, Any]]]:
    """The id of the whole answer to a question, or None; and the steps of its turns without one.

    An answer is not whole while it is streamed, or if its process was stopped or died; nor is an error.
    """
    runs = [step for step in steps if step["type"] == "run" and step.get("parentId") == question_id]
    parents = {question_id, *(run["id"] for run in runs)}
    said = [step for step in steps if step["type"] != "run" and step.get("parentId") in parents]
    for step in said:
        status = (step.get("metadata") or {}).get("status")
        is_message = step["type"] == "assistant_message" and not step.get("isError") and not is_notice(step)
        if is_message and status not in (None, "cut", "error") and not step.get("streaming"):
            return step["id"], []
    return None, [*said, *runs]


class Turn(ChainlitEmitter):
    """As `threadkeeper.program_turns.ProgramTurn`.

    Args:
        text_so_far: gives the text of an answer that is being written, without the marks of the page.
        continued: the StepDict of an incomplete answer; only what is appended to it is told.
        asks: whether a model is asked, and so uses tokens.
    """

    def __init__(
        self,
        session: HTTPSession,
        question_id: str,
        text_so_far: Callable[[str], str],
        *,
        continued: dict[str, Any] | None = None,
        asks: bool = True,
    ) -> None:
        super().__init__(cast(WebsocketSession, session))
        self._text_so_far = text_so_far
        self.question_id = question_id
        self.failure_kind = ""
        self.used_tokens = 0
        self.task: asyncio.Task[None] | None = None
        self._events: list[TurnEvent] = []
        self._news = asyncio.Event()
        self._result = TurnResult(question_id)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # How much of each answer is told. Thoughts stream too, and are not in it.
        self._told: dict[str, int] = {}
        self._asks, self._continued, self._used_before = asks, continued, 0
        if continued is not None:
            self._told[continued["id"]] = len(text_to_continue(continued))
            self._used_before = _tokens_of(continued)

    @property
    def emit(self) -> Any:
        return self._emit

    async def _emit(self, event: str, data: Any) -> None:
        self._take(event, data)
        owner = getattr(self.session.user, "identifier", None)
        await send_to_pages(self.session.thread_id, owner, event, data)

    def _take(self, event: str, data: Any) -> None:
        match event:
            case "stream_start" if data["type"] == "assistant_message":
                told = self._told.get(data["id"], 0)
                self._told[data["id"]] = len(data["output"])
                self.add(TurnEvent("text", id=data["id"], text=data["output"][told:]))
            case "stream_token" if data["id"] in self._told:
                # What the page gets has its formulas changed.
                text = self._text_so_far(data["id"])
                self.add(TurnEvent("text", id=data["id"], text=text[self._told[data["id"]] :]))
                self._told[data["id"]] = len(text)
            case "delete_message" if data["id"] in self._told:
                del self._told[data["id"]]
                self.add(TurnEvent("taken_back", id=data["id"]))
            case "new_message" if data["type"] == "assistant_message" and data.get("isError"):
                self._result.failure = data["output"]
                self.add(TurnEvent("failure", id=data["id"], text=data["output"]))
            case "new_message" if data["type"] == "assistant_message" and is_notice(data):
                self._result.notices.append(data["output"])
                self.add(TurnEvent("notice", text=data["output"]))
            # An answer without text, as a picture alone, comes as a new message.
            case "update_message" | "new_message" if _is_answer(data):
                self._result.answer_id = data["id"]
                self.used_tokens = _tokens_of(data) - self._used_before if self._asks else 0
                self.add(TurnEvent("answer", id=data["id"]))
            case "toast":
                self._result.notices.append(str(data.get("message") or ""))
                self.add(TurnEvent("notice", text=str(data.get("message") or "")))

    def add(self, event: TurnEvent) -> None:
        self._events.append(event)
        self._news.set()

    def stop(self) -> None:
        """As Stop on a page: the answer ends with the text so far."""
        if self.task is not None:
            self.task.cancel()

    def end(self, task: "asyncio.Task[None]", *, is_shutdown: bool) -> None:
        """The turn has ended, with its task. `is_shutdown`: the server stops."""
        error = None if task.cancelled() else task.exception()
        self._result.failure_kind = self.failure_kind
        self._result.was_stopped = task.cancelled()
        self._result.is_shutdown = task.cancelled() and is_shutdown
        if self._continued is not None and not self._result.failure and self._result.answer_id is None:
            # Nothing was appended, which a notice explains.
            self._result.answer_id = self._continued["id"]
        if not self._ended.done():
            if error is not None:
                self._ended.set_exception(error)
            else:
                self._ended.set_result(None)
        self._news.set()

    async def events(self) -> AsyncIterator[TurnEvent]:
        at = 0
        while True:
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self._ended.done():
                return
            self._news.clear()
            await self._news.wait()

    async def result(self) -> TurnResult:
        await asyncio.shield(self._ended)
        return self._result


def _tokens_of(step: dict[str, Any]) -> int:
    usage = (step.get("metadata") or {}).get("usage") or {}
    return int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0)


def _is_answer(data: Any) -> bool:
    return data.get("type") == "assistant_message" and bool((data.get("metadata") or {}).get("status"))
