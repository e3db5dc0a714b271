"""Exchanges of programs that were answered outside of the chat, kept as threads that open in the browser.

They are stored as the chat stores its own: questions, runs and answers, with usage, passages and pictures. Pages of the
user that have the thread open see them arrive.
"""

import asyncio
import base64
import binascii
import contextvars
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import chainlit as cl
from chainlit.context import ChainlitContext, context_var
from chainlit.session import HTTPSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history.answers import IDK, ORIGIN
from datalayer.ownership import acting_user
from datalayer.records.usage import STOPPED
from threadkeeper.chat.answer import Outcome
from threadkeeper.chat.assistants import Retriever
from threadkeeper.chat.model import Delta, Finish
from threadkeeper.conversation.assistants import DEFAULT_CHAT, Answerer
from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.passages import Passages
from threadkeeper.conversation.program_turn import Turn, end_session, question_step
from threadkeeper.conversation.reply import Reply
from threadkeeper.program_turns import KeptExchange, Said

_PICTURE = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,(.+)", re.DOTALL)
_LONGEST_NAME = 200


class ExchangeKeeper:
    """Keeps exchanges: `program_turns.KeepExchange`. `retriever` cuts the pages of cited passages out of PDFs."""

    def __init__(self, layer: ChainlitLayer, retriever: Retriever | None = None) -> None:
        self._layer, self._retriever = layer, retriever

    async def __call__(self, exchange: KeptExchange) -> None:
        # In a context of its own: the request acts as nobody.
        task = contextvars.copy_context().run(asyncio.create_task, self._keep(exchange), name="keep-exchange")
        await asyncio.shield(task)

    async def _keep(self, exchange: KeptExchange) -> None:
        key, thread_id = exchange.key, exchange.thread_id
        acting_user.set(key.owner)
        assistant, question = exchange.assistant, exchange.question
        if exchange.is_new:
            name = next(
                (one.text for one in (*exchange.before, question) if one is not None and one.role == "user"), ""
            )
            metadata = {"chat_profile": assistant.slug} if assistant is not None else {}
            await self._layer.update_thread(
                thread_id, name=name[:_LONGEST_NAME], user_id=key.user_id, metadata=metadata
            )
        async with self._session(exchange):
            for one in exchange.before if exchange.is_new else ():
                if one.role == "user":
                    await _send_question(key.owner, one)
                else:
                    # No more than its text is known.
                    await cl.Message(content=one.text, metadata={"status": "complete"}).send()
            asked = await _send_question(key.owner, question) if question is not None else None
            # As Chainlit does around the handler of a message: a vote on the answer is stored on the run.
            async with cl.Step(name="on_message", type="run", parent_id=asked.id if asked is not None else None) as run:
                run.input = question.text if question is not None else ""
                await self._answer(exchange)
        await self._layer.settled(thread_id)

    @asynccontextmanager
    async def _session(self, exchange: KeptExchange) -> AsyncIterator[None]:
        """Chainlit's session of the program, in which everything is sent to the pages of the thread."""
        user = await self._layer.get_user(exchange.key.owner)
        session = HTTPSession(
            id=str(uuid.uuid4()), client_type="webapp", thread_id=exchange.thread_id, user=cast(Any, user)
        )
        session.has_first_interaction = True
        context_var.set(ChainlitContext(session, Turn(session, "", lambda _id: "")))
        try:
            yield
        finally:
            await end_session(session)

    async def _answer(self, exchange: KeptExchange) -> None:
        answerer = Answerer(exchange.assistant) if exchange.assistant is not None else DEFAULT_CHAT
        passages = Passages(exchange.passages, exchange.training_id, "", self._retriever)
        reply = Reply(self._layer, exchange.model, language_of_session(), answerer=answerer, passages=passages)
        outcome, call = Outcome(), exchange.call
        outcome.add(Delta(exchange.answer))
        outcome.finish = Finish(exchange.reason, None, call.answered_by if call is not None else None)
        if exchange.is_unknown:
            reply.note({ORIGIN: IDK})
        if call is not None:
            reply.called(call)
            outcome.stopped = call.finish_reason == STOPPED
            outcome.seconds, outcome.first_token_seconds = call.seconds or 0.0, call.first_token_seconds
        await reply.show(exchange.answer)
        await reply.finish(outcome)


async def _send_question(owner: str, said: Said) -> cl.Message:
    question = question_step(cl.context.session.thread_id, owner, said.text)
    message: cl.Message = cl.Message.from_dict(cast(Any, question))
    message.elements = _elements(said.pictures)
    await message.send()
    return message


def _elements(addresses: Sequence[str]) -> list[Any]:
    """The pictures whose data the program sent; those of other hosts are not fetched."""
    found: list[Any] = []
    for address in addresses:
        if (parts := _PICTURE.fullmatch(address)) is None:
            continue
        try:
            content = base64.b64decode(parts[2], validate=True)
        except binascii.Error:
            continue
        name = f"{len(found) + 1}.{parts[1].rpartition('/')[2]}"
        found.append(cl.Image(name=name, content=content, mime=parts[1], display="inline"))
    return found
