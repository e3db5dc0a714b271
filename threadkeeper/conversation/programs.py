"""Questions of programs, answered by the same turn as those of a page.

A program has no page. Its session is Chainlit's session without a websocket, and the events of its turn go to the
program, and to the pages of the user that have the thread open.
"""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import chainlit as cl
from chainlit.context import ChainlitContext, context_var
from chainlit.session import HTTPSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.ownership import acting_user
from datalayer.records.assistants import Assistant
from datalayer.records.keys import ApiKey
from threadkeeper.chat.context.refusals import FAILED, refused_ids
from threadkeeper.chat.titles import first_name
from threadkeeper.conversation.assistants import profile_of_thread
from threadkeeper.conversation.chat_settings import MODEL, personal_settings
from threadkeeper.conversation.continuing import (
    question_ids,
    to_continue,
    to_write_anew,
    whose_answer_was_deleted,
)
from threadkeeper.conversation.key_allowance import KeyAllowance
from threadkeeper.conversation.program_turn import Turn, answer_of, end_session, question_step, send_to_pages
from threadkeeper.conversation.reply import AskingProgram, asking_program
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.uploads import attach_files, release_files, show_files, take_file
from threadkeeper.conversation.versions import Version, versions_of_message
from threadkeeper.program_turns import AnswerVersion, AnswerVersions, TurnEvent, TurnRefused, TurnResult

_ENGLISH = "en"
# Answers are kept for a day, from a moment before their questions are dated.
_REPEATED_SECONDS = 23 * 3_600.0
_TOO_LATE = "Only the last answer of a thread can be written anew, and only an incomplete one continued."


class Programs:
    """Asks for programs in the conversations of this process."""

    def __init__(self, layer: ChainlitLayer, conversations: Conversations) -> None:
        self._layer, self._conversations = layer, conversations
        self._turns, self._answering = conversations.parts
        self._allowed = KeyAllowance(layer, self._answering.offered)
        self._tasks: set[asyncio.Task[None]] = set()

    async def models_of(self, owner: str) -> Sequence[str]:
        """As `threadkeeper.program_turns.AskThread.models_of`."""
        return (await self._answering.offered.of(owner)).names

    async def demand_trial(self, saved: Assistant, tried: Assistant, *, key: ApiKey) -> str | None:
        """As `threadkeeper.program_turns.AskThread.demand_trial`."""
        await self._allowed.demand_trial(saved, tried, key)
        return await self._allowed.project_of(key)

    async def count_tokens(self, key: ApiKey, used: int) -> None:
        """As `threadkeeper.program_turns.AskThread.count_tokens`."""
        await self._allowed.count_tokens(key, used)

    @property
    def most_bytes(self) -> int:
        """As `threadkeeper.program_turns.AskThread.most_bytes`."""
        return self._answering.questions.limits.most_bytes

    async def take_file(self, thread_id: str, *, name: str, mime: str | None, path: Path) -> str:
        """As `threadkeeper.program_turns.AskThread.take_file`."""
        return await take_file(self._layer, self._answering.questions, thread_id, name=name, mime=mime, path=path)

    async def __call__(
        self,
        thread_id: str,
        text: str,
        *,
        model: str | None,
        key: ApiKey,
        elements: Sequence[str] = (),
        question_id: str | None = None,
    ) -> Turn:
        """As `threadkeeper.program_turns.AskThread`."""
        async with self._claimed(thread_id) as claim:
            thread = await self._own(await self._layer.get_thread(thread_id), key)
            if any(step["id"] == question_id for step in thread["steps"]):
                # Of an `Idempotency-Key` that was forgotten since.
                question_id = None
            question = question_step(thread_id, key.owner, text, model=model, question_id=question_id)
            await self._allowed.demand(thread, question, key)
            return await self._begin(thread, question, key, claim, elements=elements)

    async def ask_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> Turn:
        """As `threadkeeper.program_turns.AskThread.ask_again`."""
        async with self._claimed(thread_id) as claim:
            thread, question = await self._to_ask_again(thread_id, message_id, text=text, model=model, key=key)
            return await self._begin(thread, question, key, claim, is_again=True)

    async def store_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> str:
        """As `threadkeeper.program_turns.AskThread.store_again`."""
        async with self._claimed(thread_id) as claim:
            thread, question = await self._to_ask_again(thread_id, message_id, text=text, model=model, key=key)
            question_id, steps = str(question["id"]), thread["steps"]
            at = next(position for position, one in enumerate(steps) if one["id"] == question_id)
            if (steps[at]["output"], steps[at].get("modes")) != (question["output"], question.get("modes")):
                await self._layer.update_step(question)
                await send_to_pages(thread_id, key.owner, "update_message", question)
            await self._layer.cut_thread(thread_id, question_id)
            for step in steps[at + 1 :]:
                await send_to_pages(thread_id, key.owner, "delete_message", step)
        self._turns.claims.release(claim)
        return question_id

    async def _to_ask_again(
        self, thread_id: str, message_id: str, *, text: str | None, model: str | None, key: ApiKey
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The ThreadDict as it is stored, and the StepDict of the question as it is to be asked.

        Raises:
            TurnRefused: as `ask_again`.
        """
        thread = await self._own(await self._layer.get_thread(thread_id), key)
        found = next((one for one in thread["steps"] if one["id"] == message_id), None)
        if found is None and text is None:
            # A lost attempt of this request may have deleted the answer.
            earlier = await self._layer.message_versions(thread_id)
            found = whose_answer_was_deleted(thread, earlier, message_id)
        if found is None or (text is not None and found["type"] != "user_message"):
            raise TurnRefused("not-found", "The thread has no such message.")
        if text is None and (found := to_write_anew(thread, found["id"])) is None:
            raise TurnRefused("too-late", _TOO_LATE)
        question = {**found, "output": found["output"] if text is None else text}
        if model is not None:
            question["modes"] = {**(found.get("modes") or {}), MODEL: model}
        await self._allowed.demand(thread, question, key)
        return thread, question

    async def versions(self, thread_id: str, message_id: str) -> AnswerVersions:
        """As `threadkeeper.program_turns.AskThread.versions`."""
        thread = await self._layer.get_thread(thread_id) or {"steps": []}
        found = versions_of_message(thread["steps"], await self._layer.message_versions(thread_id), message_id)
        if found is None:
            raise TurnRefused("not-found", "The thread has no such message.")
        shown = tuple(AnswerVersion(one.question, one.answer, one.answer_id, one.thought) for one in found.all)
        return AnswerVersions(found.question_id, shown, found.at)

    async def put_back(self, thread_id: str, message_id: str, at: int, *, key: ApiKey) -> Turn | TurnResult:
        """As `threadkeeper.program_turns.AskThread.put_back`."""
        async with self._claimed(thread_id) as claim:
            thread = await self._own(await self._layer.get_thread(thread_id), key)
            found = versions_of_message(thread["steps"], await self._layer.message_versions(thread_id), message_id)
            if found is None or not 0 <= at < len(found.all):
                raise TurnRefused("not-found", "The message has no such version.")
            if found.question_id != question_ids(thread)[-1]:
                raise TurnRefused("too-late", _TOO_LATE)
            if at == found.at:
                self._turns.claims.release(claim)
                return TurnResult(found.question_id, found.answer_id)
            question = next(one for one in thread["steps"] if one["id"] == found.question_id)
            asked = {**question, "output": found.all[at].question}
            return await self._begin(thread, asked, key, claim, is_again=True, restored=found.all[at])

    async def continue_answer(self, thread_id: str, answer_id: str, *, key: ApiKey) -> Turn:
        """As `threadkeeper.program_turns.AskThread.continue_answer`."""
        async with self._claimed(thread_id) as claim:
            thread = await self._own(await self._layer.get_thread(thread_id), key)
            if all(step["id"] != answer_id for step in thread["steps"]):
                raise TurnRefused("not-found", "The thread has no such message.")
            self._conversations.mark(thread, _ENGLISH)
            found = to_continue(thread, answer_id)
            if found is None:
                raise TurnRefused("too-late", _TOO_LATE)
            await self._allowed.demand(thread, found.question, key)
            for error in found.errors:
                await self._layer.delete_step(error["id"])
                await send_to_pages(thread_id, key.owner, "delete_message", error)

            async def proceed(turn: Turn, message: cl.Message) -> None:
                turn.add(TurnEvent("question", id=message.id))
                turn.failure_kind = await self._conversations.proceed(message, thread, found.answer, _ENGLISH) or ""

            return await self._begin(thread, found.question, key, claim, continued=(found.answer, proceed))

    @asynccontextmanager
    async def _claimed(self, thread_id: str) -> AsyncIterator[str]:
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

    async def store(
        self,
        thread_id: str,
        text: str,
        *,
        model: str | None,
        key: ApiKey,
        elements: Sequence[str] = (),
        question_id: str | None = None,
    ) -> str:
        """As `threadkeeper.program_turns.AskThread.store`."""
        if question_id is None:
            thread = await self._own(await self._layer.get_thread_head(thread_id), key)
        else:
            thread = await self._own(await self._layer.get_thread(thread_id), key)
            known = next((step for step in thread["steps"] if step["id"] == question_id), None)
            if known is not None and known["createdAt"] < utc_in(-_REPEATED_SECONDS):
                # Of an `Idempotency-Key` that was forgotten since. A younger one is of a lost attempt of the request.
                question_id = None
        question = question_step(thread_id, key.owner, text, model=model, question_id=question_id)
        await self._allowed.demand(thread, question, key)
        await self._take_files(thread, question, elements)
        try:
            await self._layer.create_step(question)
        except BaseException:
            if elements:
                await release_files(self._layer, question)
            raise
        await send_to_pages(thread_id, key.owner, "new_message", question)
        await show_files(self._layer, key.owner, thread_id, elements)
        return str(question["id"])

    async def answer(self, thread_id: str, question_id: str, *, key: ApiKey) -> Turn | TurnResult:
        """As `threadkeeper.program_turns.BackgroundTurns.answer`."""
        async with self._claimed(thread_id) as claim:
            thread = await self._own(await self._layer.get_thread(thread_id), key)
            question = next((one for one in thread["steps"] if one["id"] == question_id), None)
            if question is None:
                raise TurnRefused("not-found", "The question was deleted before it was answered.")
            whole, rest = answer_of(thread["steps"], question_id)
            if whole is not None:
                self._turns.claims.release(claim)
                return TurnResult(question_id, whole)
            for step in rest:
                await self._layer.delete_step(step["id"])
                await send_to_pages(thread_id, key.owner, "delete_message", step)
            left = {step["id"] for step in rest}
            thread["steps"] = [step for step in thread["steps"] if step["id"] not in left]
            await self._allowed.demand_model(thread, question, key)
            return await self._begin(thread, question, key, claim, is_stored=True)

    async def _own(self, thread: dict[str, Any] | None, key: ApiKey) -> dict[str, Any]:
        if thread is None or thread["userIdentifier"] != key.owner:
            raise TurnRefused("not-found", "There is no such thread.")
        return thread

    async def _begin(
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
        program = AskingProgram(key.id, await self._allowed.project_of(key), key.models, is_stored)
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
        await self._take_files(thread, question, elements)
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
            await asyncio.shield(self._allowed.count_tokens(key, turn.used_tokens))

    async def _answer(self, turn: Turn, message: cl.Message) -> None:
        turn.add(TurnEvent("question", id=message.id))
        # As Chainlit does around the handler of a message.
        async with cl.Step(name="on_message", type="run", parent_id=message.id) as run:
            run.input = message.content
            await self._conversations.answer(message)
        turn.failure_kind = str((message.metadata or {}).get(FAILED) or "")

    async def _take_files(self, thread: dict[str, Any], question: dict[str, Any], elements: Sequence[str]) -> None:
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
        turn.end(task)
        cleaning = asyncio.get_running_loop().create_task(end_session(cast(HTTPSession, turn.session)))
        self._tasks.add(cleaning)
        cleaning.add_done_callback(self._tasks.discard)
