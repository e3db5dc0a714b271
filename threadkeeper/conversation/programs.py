"""Questions of programs, answered by the same turn as those of a page.

A program has no page. Its session is Chainlit's session without a websocket, and the events of its turn go to the
program, and to the pages of the user that have the thread open.
"""

import asyncio
import contextvars
import uuid
from collections.abc import Sequence
from typing import Any, cast

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.context import ChainlitContext, context_var
from chainlit.session import HTTPSession
from chainlit.user_session import user_sessions
from chainlit.utils import utc_now

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.records.keys import ApiKey
from threadkeeper.chat.context.refusals import FAILED, refused_ids
from threadkeeper.chat.titles import first_name
from threadkeeper.conversation.assistants import answerer_of, profile_of_thread
from threadkeeper.conversation.chat_settings import MODEL, personal_settings
from threadkeeper.conversation.program_turn import Turn
from threadkeeper.conversation.reply import AskingProgram, asking_program
from threadkeeper.conversation.session import Conversations
from threadkeeper.program_turns import TurnEvent, TurnRefused


class Programs:
    """Asks for programs in the conversations of this process."""

    def __init__(self, layer: ChainlitLayer, conversations: Conversations) -> None:
        self._layer, self._conversations = layer, conversations
        self._turns, self._answering = conversations.parts
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> Sequence[str]:
        """As `threadkeeper.program_turns.AskThread.models`."""
        return self._answering.models

    async def __call__(self, thread_id: str, text: str, *, model: str | None, key: ApiKey) -> Turn:
        """As `threadkeeper.program_turns.AskThread`."""
        claims = self._turns.claims
        claim = None if self._turns.tasks_of(thread_id) else await claims.take(thread_id)
        if claim is None:
            raise TurnRefused("busy", "The thread answers another question. Ask again when it has ended.", 1)
        try:
            return await self._begin(thread_id, text, model, key, claim)
        except BaseException:
            claims.release(claim)
            raise

    async def _begin(self, thread_id: str, text: str, model: str | None, key: ApiKey, claim: str) -> Turn:
        thread = await self._layer.get_thread(thread_id)
        if thread is None or thread["userIdentifier"] != key.owner:
            raise TurnRefused("not-found", "There is no such thread.")
        modes = {MODEL: model} if model is not None else None
        profile = profile_of_thread(thread)
        await self._demand_model(profile, modes, key)
        await self._demand_rate(key)
        program = AskingProgram(key.id, await self._project_of(key), key.models)
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
        task = context.run(asyncio.create_task, self._run(turn, thread, text, modes, (key, program)))
        turn.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(turn, claim, done))
        return turn

    def _take_up(self, session: HTTPSession, thread: dict[str, Any]) -> None:
        """Let the session go on with a stored thread."""
        turns = self._turns.of(session)
        turns.claimed = turns.resumed = True
        turns.refused = refused_ids(thread["steps"])
        turns.asked.update(step["id"] for step in thread["steps"] if step["type"] == "user_message")

    def _text_so_far(self, answer_id: str) -> str:
        """The text of an answer that is being written, without the marks of the page."""
        reply = self._answering.replies.get(answer_id)
        return reply.message.content if reply is not None else ""

    async def _demand_model(self, profile: str | None, modes: dict[str, str] | None, key: ApiKey) -> None:
        """Require that the key allows the model that will answer, or its assistant."""
        if not key.models:
            return
        answerer, models = await answerer_of(self._layer, profile), self._answering.models
        model = answerer.model(modes, models)
        if model in key.models:
            return
        # An assistant is allowed with its own model, or with the default one if it has none.
        assistant = answerer.assistant
        is_allowed = assistant is not None and f"assistant:{assistant.slug}" in key.models
        if not is_allowed or model != answerer.model(None, models):
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
        turn: Turn,
        thread: dict[str, Any],
        text: str,
        modes: dict[str, str] | None,
        asker: tuple[ApiKey, AskingProgram],
    ) -> None:
        key, program = asker
        acting_user.set(key.owner)
        asking_program.set(program)
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
            await self._layer.update_thread(turn.session.thread_id, name=first_name(text))
        await message.send()
        turn.add(TurnEvent("question", id=message.id))
        # As Chainlit does around the handler of a message.
        try:
            async with cl.Step(name="on_message", type="run", parent_id=message.id) as run:
                run.input = text
                await self._conversations.answer(message)
            turn.failure_kind = str((message.metadata or {}).get(FAILED) or "")
        finally:
            # A stopped answer has used tokens too.
            await asyncio.shield(self._count_tokens(turn, key))

    async def _count_tokens(self, turn: Turn, key: ApiKey) -> None:
        if key.tokens_per_minute is None or not turn.used_tokens:
            return
        with acting_as(SYSTEM):
            await self._layer.take_rate(key.id, "tokens", turn.used_tokens, key.tokens_per_minute, is_owed=True)

    def _end(self, turn: Turn, claim: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._turns.claims.release(claim)
        for kept in (chat_contexts, user_sessions):
            kept.pop(turn.session.id, None)
        turn.end(task)
        cleaning = asyncio.get_running_loop().create_task(turn.session.delete())
        self._tasks.add(cast("asyncio.Task[None]", cleaning))
        cleaning.add_done_callback(self._tasks.discard)
