"""Questions of programs, answered by the same turn as those of a page.

A program has no page. Its session is Chainlit's session without a websocket, and the events of its turn go to the
program, and to the pages of the user that have the thread open.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from datalayer.records.assistants import Assistant
from datalayer.records.keys import ApiKey
from threadkeeper.conversation.chat_settings import MODEL
from threadkeeper.conversation.continuing import (
    Continued,
    question_ids,
    text_print,
    to_continue,
    to_write_anew,
    was_continued,
    whose_answer_was_deleted,
)
from threadkeeper.conversation.program_starter import ProgramStarter
from threadkeeper.conversation.program_turn import Turn, answer_of, question_step, send_to_pages
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.uploads import release_files, show_files, take_file
from threadkeeper.conversation.versions import versions_of_message
from threadkeeper.program_turns import (
    REPEATED_SECONDS,
    AnswerVersion,
    AnswerVersions,
    TurnEvent,
    TurnRefused,
    TurnResult,
    UnfinishedAnswer,
)

_ENGLISH = "en"
_STOP_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.3
_TOO_LATE = "Only the last answer of a thread can be written anew, and only an incomplete one continued."


class Programs:
    """Asks for programs in the conversations of this process."""

    def __init__(self, layer: ChainlitLayer, conversations: Conversations) -> None:
        self._layer, self._conversations = layer, conversations
        self._turns, self._answering = conversations.parts
        self._starter = ProgramStarter(layer, conversations)
        self._allowed = self._starter.allowed

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
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
            if any(step["id"] == question_id for step in thread["steps"]):
                # Of an `Idempotency-Key` that was forgotten since.
                question_id = None
            question = question_step(thread_id, key.owner, text, model=model, question_id=question_id)
            await self._allowed.demand(thread, question, key)
            return await self._starter.begin(thread, question, key, claim, elements=elements)

    async def ask_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> Turn:
        """As `threadkeeper.program_turns.AskThread.ask_again`."""
        async with self._starter.claimed(thread_id) as claim:
            thread, question = await self._to_ask_again(thread_id, message_id, text=text, model=model, key=key)
            return await self._starter.begin(thread, question, key, claim, is_again=True)

    async def store_again(
        self, thread_id: str, message_id: str, *, text: str | None = None, model: str | None, key: ApiKey
    ) -> str:
        """As `threadkeeper.program_turns.AskThread.store_again`."""
        async with self._starter.claimed(thread_id) as claim:
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
        thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
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
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
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
            return await self._starter.begin(thread, asked, key, claim, is_again=True, restored=found.all[at])

    async def continue_answer(self, thread_id: str, answer_id: str, *, key: ApiKey) -> Turn:
        """As `threadkeeper.program_turns.AskThread.continue_answer`."""
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
            found = self._unfinished(thread, answer_id)
            await self._allowed.demand(thread, found.question, key)
            return await self._go_on(thread, found, key, claim)

    async def unfinished(self, thread_id: str, answer_id: str, *, key: ApiKey) -> UnfinishedAnswer:
        """As `threadkeeper.program_turns.AskThread.unfinished`."""
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
            found = self._unfinished(thread, answer_id)
            await self._allowed.demand(thread, found.question, key)
        self._turns.claims.release(claim)
        return UnfinishedAnswer(found.question["id"], text_print(found.answer))

    async def go_on(self, thread_id: str, answer_id: str, begun: UnfinishedAnswer, *, key: ApiKey) -> Turn | TurnResult:
        """As `threadkeeper.program_turns.BackgroundTurns.go_on`."""
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
            answer = next((one for one in thread["steps"] if one["id"] == answer_id), None)
            if answer is not None and was_continued(answer, begun.text_print):
                self._turns.claims.release(claim)
                return TurnResult(begun.question_id, answer_id)
            found = self._unfinished(thread, answer_id)
            await self._allowed.demand_model(thread, found.question, key)
            return await self._go_on(thread, found, key, claim)

    def _unfinished(self, thread: dict[str, Any], answer_id: str) -> Continued:
        """The answer of a ThreadDict that can be continued; the ThreadDict gets its marks.

        Raises:
            TurnRefused: there is no such message, or it is complete, or not the last one.
        """
        if all(step["id"] != answer_id for step in thread["steps"]):
            raise TurnRefused("not-found", "The thread has no such message.")
        self._conversations.mark(thread, _ENGLISH)
        found = to_continue(thread, answer_id)
        if found is None:
            raise TurnRefused("too-late", _TOO_LATE)
        return found

    async def _go_on(self, thread: dict[str, Any], found: Continued, key: ApiKey, claim: str) -> Turn:
        for error in found.errors:
            await self._layer.delete_step(error["id"])
            await send_to_pages(thread["id"], key.owner, "delete_message", error)

        async def proceed(turn: Turn, message: cl.Message) -> None:
            turn.add(TurnEvent("question", id=message.id))
            turn.failure_kind = await self._conversations.proceed(message, thread, found.answer, _ENGLISH) or ""

        return await self._starter.begin(thread, found.question, key, claim, continued=(found.answer, proceed))

    async def stop(self, thread_id: str) -> bool:
        """As `threadkeeper.program_turns.AskThread.stop`."""
        holder = await self._layer.stop_turn(thread_id)
        if holder is None:
            # While the database is away, a turn may begin without its claim, or lose it.
            running = self._turns.stop_answering(thread_id)
            return not running or not (await asyncio.wait(running, timeout=_STOP_SECONDS))[1]
        task = self._turns.claims.stop_turn(holder)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                if task is not None:
                    await asyncio.wait([task])
                    return True
                while True:
                    # Its process looks every few seconds.
                    if await self._layer.stop_turn(thread_id, holder) is None:
                        return True
                    await asyncio.sleep(_LOOK_EVERY_SECONDS)
        except TimeoutError:
            return False

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
            thread = await self._starter.own(await self._layer.get_thread_head(thread_id), key)
        else:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
            known = next((step for step in thread["steps"] if step["id"] == question_id), None)
            if known is not None and known["createdAt"] < utc_in(-REPEATED_SECONDS):
                # Of an `Idempotency-Key` that was forgotten since. A younger one is of a lost attempt of the request.
                question_id = None
        question = question_step(thread_id, key.owner, text, model=model, question_id=question_id)
        await self._allowed.demand(thread, question, key)
        await self._starter.take_files(thread, question, elements)
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
        async with self._starter.claimed(thread_id) as claim:
            thread = await self._starter.own(await self._layer.get_thread(thread_id), key)
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
            return await self._starter.begin(thread, question, key, claim, is_stored=True)
