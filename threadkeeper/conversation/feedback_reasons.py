"""What the review is for a user in the chat: why a thumb is down, asked by buttons, and that an answer was reviewed.

Chainlit's own dialog asks for a comment; the reasons to choose from are buttons under the answer, Chainlit's own too,
so that nothing here knows how its page is built. Their ids say what they are for: nothing is kept to take them away.
"""

import logging
from collections.abc import Sequence
from typing import Any

import chainlit as cl
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession
from chainlit.types import UpdateFeedbackRequest

from datalayer import DataLayerError, acting_user
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.wording import say
from threadkeeper.conversation.language import language_of_session
from threadkeeper.language.catalogue import CHAT

logger = logging.getLogger(__name__)

WHY, REVIEWED = "why_thumb_down", "answer_reviewed"
_ANSWER = "assistant_message"


class Reviewing:
    """Asks and tells, as far as the operator wants it.

    Args:
        layer: the data layer.
        reasons: those to choose from; without any nothing is asked.
        tells_users: whether users see what was reviewed.
    """

    def __init__(self, layer: ChainlitLayer, reasons: Sequence[str], *, tells_users: bool) -> None:
        self._layer = layer
        self._reasons = tuple(reasons)
        self._tells_users = tells_users

    def listen(self) -> None:
        """Have Chainlit bring the clicks on the buttons here."""
        cl.action_callback(WHY)(self.give)
        cl.action_callback(REVIEWED)(explain_review)

    async def voted(self, update: UpdateFeedbackRequest) -> None:
        """Ask for the reason of a thumb down on the page that it came from; take the question away after a thumb up."""
        session, vote = WebsocketSession.get_by_id(update.sessionId), update.feedback
        if not self._reasons or session is None:
            return
        if session.user is None or session.user.identifier != acting_user.get():
            # The name of a session is no proof of whose it is.
            return
        try:
            thread = await self._layer.get_thread(session.thread_id)
        except DataLayerError as error:
            logger.warning("nobody was asked why: %s", error, extra={"step_id": vote.forId})
            return
        answer_id = _answer_of(thread["steps"] if thread else [], vote.forId)
        if answer_id is None:
            return
        init_ws_context(session)
        buttons = self._buttons(vote.forId, session.language)
        for button in buttons:
            button.forId = answer_id
            await button.remove()
            if vote.value == 0:
                await button.send(for_id=answer_id)

    async def give(self, action: cl.Action) -> None:
        """Keep the reason that was chosen, and take the buttons away."""
        step_id, reason = action.payload.get("step_id"), action.payload.get("reason")
        language = language_of_session()
        if not isinstance(step_id, str) or reason not in self._reasons:
            return
        kept = await self._layer.give_reasons(step_id, [reason])
        for button in self._buttons(step_id, language):
            button.forId = action.forId
            await button.remove()
        await cl.context.emitter.send_toast(say("why_thanks" if kept else "why_gone", language), "success")

    async def tell(self, thread_id: str, language: str) -> None:
        """Say under each answer of the thread that was reviewed that it was, where the operator allows it."""
        if not self._tells_users:
            return
        try:
            reviewed = await self._layer.reviewed_answers(thread_id)
        except DataLayerError as error:
            logger.warning("it was not told what was reviewed: %s", error, extra={"thread_id": thread_id})
            return
        for one in reviewed:
            hint = say("reviewed_hint", language, day=one.reviewed_at[:10])
            label = say("reviewed", language)
            button = cl.Action(
                name=REVIEWED,
                payload={},
                label=label,
                tooltip=hint,
                icon="clipboard-check",
                id=f"reviewed-{one.step_id}",
            )
            await button.send(for_id=one.step_id)

    def _buttons(self, step_id: str, language: str) -> list[cl.Action]:
        """The question, which is a button too because the page has nothing else to put there, and its answers."""
        question = cl.Action(
            name=WHY,
            payload={},
            label=say("why_ask", language),
            tooltip=say("why_hint", language),
            icon="thumbs-down",
            id=f"why-{step_id}",
        )
        return [
            question,
            *(
                cl.Action(
                    name=WHY,
                    payload={"step_id": step_id, "reason": reason},
                    label=_named(reason, language),
                    tooltip=say("why_hint", language),
                    id=f"why-{step_id}-{at}",
                )
                for at, reason in enumerate(self._reasons)
            ),
        ]


async def explain_review(_action: cl.Action) -> None:
    """What a click on "reviewed" says."""
    await cl.context.emitter.send_toast(say("reviewed_words", language_of_session()), "info")


def _answer_of(steps: Sequence[dict[str, Any]], voted_id: str) -> str | None:
    """The answer that a vote is shown at: Chainlit's votes are on the run that it is the last answer of."""
    own = [step["id"] for step in steps if step["type"] == _ANSWER and voted_id in (step["id"], step.get("parentId"))]
    return own[-1] if own else None


def _named(reason: str, language: str) -> str:
    key = f"reason_{reason}"
    return say(key, language) if key in CHAT else reason
