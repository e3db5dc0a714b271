"""The review in the user's chat: asks for the reason of a thumbs-down, and shows which answers were reviewed.

Chainlit's own dialog asks for a comment. The reasons are Chainlit's action buttons under the answer, so that this
module does not depend on how the page is built. The ids of the buttons are derived from the step, so nothing must be
stored to remove them.
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
    """Asks for reasons and shows reviews, as the settings say.

    Args:
        layer: stores reasons.
        reasons: the choices; if empty, nobody is asked.
        tells_users: whether users see which answers were reviewed.
    """

    def __init__(self, layer: ChainlitLayer, reasons: Sequence[str], *, tells_users: bool) -> None:
        self._layer = layer
        self._reasons = tuple(reasons)
        self._tells_users = tells_users

    def listen(self) -> None:
        """Register the callbacks of the buttons with Chainlit."""
        cl.action_callback(WHY)(self.give)
        cl.action_callback(REVIEWED)(explain_review)

    async def voted(self, update: UpdateFeedbackRequest) -> None:
        """Ask for the reason of a thumbs-down on the page of the vote; remove the question after a thumbs-up."""
        session, vote = WebsocketSession.get_by_id(update.sessionId), update.feedback
        if not self._reasons or session is None:
            return
        if session.user is None or session.user.identifier != acting_user.get():
            # The id of a session does not prove who owns it.
            return
        try:
            thread = await self._layer.get_thread(session.thread_id)
        except DataLayerError as error:
            logger.warning("cannot ask for the reason of a vote: %s", error, extra={"step_id": vote.forId})
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
        """Store the chosen reason, and remove the buttons."""
        step_id, reason = action.payload.get("step_id"), action.payload.get("reason")
        language = language_of_session()
        if not isinstance(step_id, str) or reason not in self._reasons:
            return
        kept = await self._layer.give_reasons(step_id, [reason])
        for button in self._buttons(step_id, language):
            button.forId = action.forId
            await button.remove()
        await cl.context.emitter.send_toast(say("why_thanks" if kept else "why_gone", language), "success")

    async def show_reviewed(self, thread_id: str, language: str) -> None:
        """Mark each reviewed answer of the thread, if REVIEW_TELL_USERS is set."""
        if not self._tells_users:
            return
        try:
            reviewed = await self._layer.reviewed_answers(thread_id)
        except DataLayerError as error:
            logger.warning("cannot show which answers were reviewed: %s", error, extra={"thread_id": thread_id})
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
        """The question and its choices. The question is a button too, because Chainlit offers nothing else there."""
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
    """Explain the button "reviewed" after a click."""
    await cl.context.emitter.send_toast(say("reviewed_words", language_of_session()), "info")


def _answer_of(steps: Sequence[dict[str, Any]], voted_id: str) -> str | None:
    """The id of the answer that shows the vote: Chainlit stores a vote on the run, and shows it on its last answer."""
    own = [step["id"] for step in steps if step["type"] == _ANSWER and voted_id in (step["id"], step.get("parentId"))]
    return own[-1] if own else None


def _named(reason: str, language: str) -> str:
    key = f"reason_{reason}"
    return say(key, language) if key in CHAT else reason
