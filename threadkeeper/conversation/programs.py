"""Questions of programs, answered by the same turn as those of a page.

A program has no page. Its session is Chainlit's session without a websocket, and the events of its turn go to the
program, and to the pages of the user that have the thread open.
"""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.context import ChainlitContext, context_var
from chainlit.emitter import ChainlitEmitter
from chainlit.session import HTTPSession, WebsocketSession, ws_sessions_id
from chainlit.user_session import user_sessions
from chainlit.utils import utc_now

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.records.keys import ApiKey
from threadkeeper.chat.context.refusals import FAILED, refused_ids
from threadkeeper.chat.context.steps import is_notice
from threadkeeper.conversation.assistants import answerer_of, profile_of_thread
from threadkeeper.conversation.chat_settings import MODEL, personal_settings
from threadkeeper.conversation.reply import asking_program
from threadkeeper.conversation.session import Conversations
from threadkeeper.program_turns import TurnEvent, TurnRefused, TurnResult


class Programs:
    """Asks for programs in the conversations of this process."""

    def __init__(self, layer: ChainlitLayer, conversations: Conversations) -> None:
        self._layer, self._conversations = layer, conversations
        self._turns, self._answering = conversations.parts
        self._tasks: set[asyncio.Task[None]] = set()
        # The threads in which a program asks.
        self._asking: set[str] = set()

    @property
    def models(self) -> Sequence[str]:
        """As `threadkeeper.program_turns.AskThread.models`."""
        return self._answering.models

    async def __call__(self, thread_id: str, text: str, *, model: str | None, key: ApiKey) -> "Turn":
        """As `threadkeeper.program_turns.AskThread`."""
        if thread_id in self._asking or self._turns.tasks_of(thread_id):
            raise TurnRefused("busy", "The thread answers another question. Ask again when it has ended.", 1)
        self._asking.add(thread_id)
        try:
            turn = await self._begin(thread_id, text, model, key)
        except BaseException:
            self._asking.discard(thread_id)
            raise
        return turn

    async def _begin(self, thread_id: str, text: str, model: str | None, key: ApiKey) -> "Turn":
        thread = await self._layer.get_thread(thread_id)
        if thread is None or thread["userIdentifier"] != key.owner:
            raise TurnRefused("not-found", "There is no such thread.")
        modes = {MODEL: model} if model is not None else None
        profile = profile_of_thread(thread)
        await self._demand_model(profile, modes, key)
        await self._demand_rate(key)
        project_id = await self._project_of(key)
        user = await self._layer.get_user(key.owner)
        session = HTTPSession(id=str(uuid.uuid4()), client_type="webapp", thread_id=thread_id, user=user)
        session.has_first_interaction = True
        session.chat_profile = profile
        metadata = thread.get("metadata") or {}
        session.chat_settings = dict(metadata.get("chat_settings") or personal_settings(user))
        self._take_up(session, thread)
        turn = Turn(session, str(uuid.uuid4()), self._text_so_far)
        # In a context of its own: the turn goes on when its request has ended.
        context = contextvars.copy_context()
        task = context.run(asyncio.create_task, self._run(turn, thread, text, modes, (key, project_id)))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(turn, thread_id, done))
        return turn

    def _take_up(self, session: HTTPSession, thread: dict[str, Any]) -> None:
        """Let the session go on with a stored thread."""
        turns = self._turns.of(session)
        turns.resumed, turns.refused = True, refused_ids(thread["steps"])
        turns.asked.update(step["id"] for step in thread["steps"] if step["type"] == "user_message")

    def _text_so_far(self, answer_id: str) -> str:
        """The text of an answer that is being written, without the marks of the page."""
        reply = self._answering.replies.get(answer_id)
        return reply.message.content if reply is not None else ""

    async def _demand_model(self, profile: str | None, modes: dict[str, str] | None, key: ApiKey) -> None:
        """Require that the key allows the model that will answer, or its assistant."""
        if not key.models:
            return
        answerer = await answerer_of(self._layer, profile)
        model = answerer.model(modes, self._answering.models)
        names = {model} | ({f"assistant:{answerer.assistant.slug}"} if answerer.assistant else set())
        if names.isdisjoint(key.models):
            raise TurnRefused("model-not-allowed", f"The key {key.prefix}… does not allow the model {model}.")

    async def _demand_rate(self, key: ApiKey) -> None:
        """Require that the key has a token left a minute. How many an answer takes is known at its end."""
        if key.tokens_per_minute is None:
            return
        with acting_as(SYSTEM):
            rate = await self._layer.take_rate(key.id, "tokens", 1, key.tokens_per_minute)
        if not rate.allowed:
            sentence = f"The key {key.prefix}… allows {rate.limit} tokens a minute."
            raise TurnRefused("rate-exceeded", sentence, rate.retry_after)

    async def _project_of(self, key: ApiKey) -> str | None:
        """The id of the project that pays, if it is not the default one."""
        if key.project is None:
            return None
        return next((one.id for one in await self._layer.list_projects() if one.slug == key.project), None)

    async def _run(
        self,
        turn: "Turn",
        thread: dict[str, Any],
        text: str,
        modes: dict[str, str] | None,
        payer: tuple[ApiKey, str | None],
    ) -> None:
        key, project_id = payer
        acting_user.set(key.owner)
        asking_program.set((key.id, project_id))
        context_var.set(ChainlitContext(turn.session, turn))
        message = cl.Message.from_dict(
            cast(
                Any,
                {
                    "id": turn.question_id,
                    "threadId": turn.session.thread_id,
                    "name": key.owner,
                    "type": "user_message",
                    "output": text,
                    "createdAt": utc_now(),
                    "modes": modes,
                },
            )
        )
        if not thread.get("name"):
            # As Chainlit names it; the title comes after the answer.
            await self._layer.update_thread(turn.session.thread_id, name=text)
        await message.send()
        turn.add(TurnEvent("question", id=message.id))
        # As Chainlit does around the handler of a message.
        async with cl.Step(name="on_message", type="run", parent_id=message.id) as run:
            run.input = text
            await self._conversations.answer(message)
        turn.failure_kind = str((message.metadata or {}).get(FAILED) or "")
        if key.tokens_per_minute is not None and turn.used_tokens:
            with acting_as(SYSTEM):
                await self._layer.take_rate(key.id, "tokens", turn.used_tokens, key.tokens_per_minute, is_owed=True)

    def _end(self, turn: "Turn", thread_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._asking.discard(thread_id)
        for kept in (chat_contexts, user_sessions):
            kept.pop(turn.session.id, None)
        turn.end(task)
        cleaning = asyncio.get_running_loop().create_task(turn.session.delete())
        self._tasks.add(cast("asyncio.Task[None]", cleaning))
        cleaning.add_done_callback(self._tasks.discard)


class Turn(ChainlitEmitter):
    """The turn of a program, as Chainlit's emitter of its session."""

    def __init__(self, session: HTTPSession, question_id: str, text_so_far: Callable[[str], str]) -> None:
        super().__init__(cast(WebsocketSession, session))
        self._text_so_far = text_so_far
        self.question_id = question_id
        self.failure_kind = ""
        self.used_tokens = 0
        self._events: list[TurnEvent] = []
        self._news = asyncio.Event()
        self._result = TurnResult(question_id)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # How much of each answer is told. Thoughts stream too, and are not in it.
        self._told: dict[str, int] = {}

    @property
    def emit(self) -> Any:
        return self._emit

    async def _emit(self, event: str, data: Any) -> None:
        self._take(event, data)
        owner = getattr(self.session.user, "identifier", None)
        for page in list(ws_sessions_id.values()):
            if page.thread_id == self.session.thread_id and getattr(page.user, "identifier", None) == owner:
                send: Any = page.emit
                await send(event, data)

    def _take(self, event: str, data: Any) -> None:
        match event:
            case "stream_start" if data["type"] == "assistant_message":
                self._told[data["id"]] = len(data["output"])
                self.add(TurnEvent("text", id=data["id"], text=data["output"]))
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
            case "update_message" if data["type"] == "assistant_message" and (data.get("metadata") or {}).get("status"):
                self._result.answer_id = data["id"]
                usage = data["metadata"].get("usage") or {}
                self.used_tokens = int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0)
                self.add(TurnEvent("answer", id=data["id"]))
            case "toast":
                self._result.notices.append(str(data.get("message") or ""))
                self.add(TurnEvent("notice", text=str(data.get("message") or "")))

    def add(self, event: TurnEvent) -> None:
        self._events.append(event)
        self._news.set()

    def end(self, task: "asyncio.Task[None]") -> None:
        """The turn has ended, with its task."""
        error = None if task.cancelled() else task.exception()
        self._result.failure_kind = self.failure_kind
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
