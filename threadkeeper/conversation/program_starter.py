"""Starts the turns of programs: each in a session of its own, in a thread that it has claimed."""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import chainlit as cl
from chainlit.context import ChainlitContext, context_var
from chainlit.session import HTTPSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import acting_user
from datalayer.records.keys import ApiKey
from threadkeeper.chat.context.refusals import FAILED, refused_ids
from threadkeeper.chat.titles import first_name
from threadkeeper.conversation.assistants import profile_of_thread
from threadkeeper.conversation.chat_settings import personal_settings
from threadkeeper.conversation.continuing import question_ids
from threadkeeper.conversation.key_allowance import KeyAllowance
from threadkeeper.conversation.program_turn import Turn, end_session
from threadkeeper.conversation.reply import AskingProgram, asking_program
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.uploads import attach_files, release_files, show_files
from threadkeeper.conversation.versions import Version
from threadkeeper.program_turns import TurnEvent, TurnRefused


class ProgramStarter:
    """Starts the turns of programs in the conversations of this process.

    Attributes:
        allowed: what keys allow.
    """

    def __init__(self, layer: ChainlitLayer, conversations: Conversations) -> None:
        self._layer, self._conversations = layer, conversations
        self._turns, self._answering = conversations.parts
        self.allowed = KeyAllowance(layer, self._answering.offered)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def claimed(self, thread_id: str) -> AsyncIterator[str]:
        """Claim a thread for a turn, which releases it at its end.

        Raises:
            TurnRefused: the thread answers already.
        """
        claims = self._turns.claims
        claim = None if self._turns.tasks_of(thread_id) else await claims.take(thread_id)
        if claim is None:
            raise TurnRefused("busy", "The thread answers another question. Ask again when it has ended.", 1)
        try:
            yield claim
        except BaseException:
            claims.release(claim)
            raise

    async def own(self, thread: dict[str, Any] | None, key: ApiKey) -> dict[str, Any]:
        """The ThreadDict, if it is of the user of the key.

        Raises:
            TurnRefused: it is not.
        """
        if thread is None or thread["userIdentifier"] != key.owner:
            raise TurnRefused("not-found", "There is no such thread.")
        return thread

    async def begin(
        self,
        thread: dict[str, Any],
        question: dict[str, Any],
        key: ApiKey,
        claim: str,
        *,
        is_stored: bool = False,
        is_again: bool = False,
        elements: Sequence[str] = (),
        continued: tuple[dict[str, Any], Callable[[Turn, cl.Message], Awaitable[None]]] | None = None,
        restored: Version | None = None,
    ) -> Turn:
        """Start the turn of a question.

        Args:
            thread: its ThreadDict.
            question: its StepDict.
            key: who asks.
            claim: of the thread.
            is_stored: whether the question waited in the thread.
            is_again: whether it had an answer, which is replaced.
            elements: its files, which are of no message yet.
            continued: the answer that is continued, and what does it.
            restored: the version that is put back in place of a new answer.
        """
        program = AskingProgram(key.id, await self.allowed.project_of(key), key.models, is_stored)
        user = await self._layer.get_user(key.owner)
        session = HTTPSession(id=str(uuid.uuid4()), client_type="webapp", thread_id=thread["id"], user=user)
        session.has_first_interaction = True
        session.chat_profile = profile_of_thread(thread)
        metadata = thread.get("metadata") or {}
        # A thread without any setting is one of the server's defaults, and not of the user's own.
        settings = metadata.get("chat_settings")
        session.chat_settings = dict(personal_settings(user) if settings is None else settings)
        self._take_up(session, thread)
        if not (is_again or continued):
            self._turns.of(session).asked.discard(question["id"])
        await self.take_files(thread, question, elements)
        answer, proceed = continued or (None, None)
        self._turns.of(session).restored = restored
        turn = Turn(session, question["id"], self._text_so_far, continued=answer, asks=restored is None)
        stored = next((step for step in thread["steps"] if step["id"] == question["id"]), None)

        async def ask(message: cl.Message) -> None:
            if stored is None or is_stored:
                await message.send()
            elif (stored["output"], stored.get("modes")) != (message.content, message.modes):
                await message.update()
            await show_files(self._layer, key.owner, message.thread_id, elements)
            await self._answer(turn, message)

        async def go_on(message: cl.Message) -> None:
            assert proceed is not None
            await proceed(turn, message)

        # In a context of its own: the turn goes on when its request has ended.
        context = contextvars.copy_context()
        task = context.run(asyncio.create_task, self._run(turn, question, (key, program), go_on if continued else ask))
        turn.task = task
        self._turns.claims.run_by(claim, task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(turn, claim, done))
        return turn

    def _take_up(self, session: HTTPSession, thread: dict[str, Any]) -> None:
        """Let the session go on with a stored thread."""
        turns = self._turns.of(session)
        turns.claimed = turns.resumed = True
        turns.refused = refused_ids(thread["steps"])
        turns.asked.update(question_ids(thread))

    def _text_so_far(self, answer_id: str) -> str:
        """The text of an answer that is being written, without the marks of the page."""
        reply = self._answering.replies.get(answer_id)
        return reply.message.content if reply is not None else ""

    async def _run(
        self,
        turn: Turn,
        question: dict[str, Any],
        asker: tuple[ApiKey, AskingProgram],
        work: Callable[[cl.Message], Awaitable[None]],
    ) -> None:
        key, program = asker
        acting_user.set(key.owner)
        asking_program.set(program)
        context_var.set(ChainlitContext(turn.session, turn))
        message = cl.Message.from_dict(cast(Any, question))
        try:
            await work(message)
        finally:
            # A stopped answer has used tokens too.
            await asyncio.shield(self.allowed.count_tokens(key, turn.used_tokens))

    async def _answer(self, turn: Turn, message: cl.Message) -> None:
        turn.add(TurnEvent("question", id=message.id))
        # As Chainlit does around the handler of a message.
        async with cl.Step(name="on_message", type="run", parent_id=message.id) as run:
            run.input = message.content
            await self._conversations.answer(message)
        turn.failure_kind = str((message.metadata or {}).get(FAILED) or "")

    async def take_files(self, thread: dict[str, Any], question: dict[str, Any], elements: Sequence[str]) -> None:
        """Let the files belong to the question, and name the thread after it if it has no name.

        A question whose files are refused names no thread; one that cannot name it may be asked again with its files.
        """
        await attach_files(self._layer, self._answering.questions, question, elements)
        try:
            await self._name(thread, question["output"])
        except BaseException:
            if elements:
                await release_files(self._layer, question)
            raise

    async def _name(self, thread: dict[str, Any], question: str) -> None:
        """Name a thread without a name after its question, as Chainlit does. The title comes after the answer."""
        if not thread.get("name"):
            await self._layer.update_thread(thread["id"], name=first_name(question))

    def _end(self, turn: Turn, claim: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._turns.claims.release(claim)
        turn.end(task, is_shutdown=self._answering.is_stopping)
        cleaning = asyncio.get_running_loop().create_task(end_session(cast(HTTPSession, turn.session)))
        self._tasks.add(cleaning)
        cleaning.add_done_callback(self._tasks.discard)
