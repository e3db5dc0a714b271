"""Whose a call to the model is, and whom to tell of what may still be used: the current session says it."""

import chainlit as cl

from datalayer.records.usage import LimitStanding
from threadkeeper.chat.model import Purpose
from threadkeeper.chat.wording import say_nearly_used
from threadkeeper.conversation.reply import Reply


def purpose_of_session(kind: str, thread_id: str) -> Purpose:
    """What a call for this session is for."""
    session = cl.context.session
    user_id = session.user.id if isinstance(session.user, cl.PersistedUser) else None
    return Purpose(kind, user_id=user_id, thread_id=thread_id, assistant=session.chat_profile or None)


def purpose_of_answer(reply: Reply, thread_id: str, language: str) -> Purpose:
    """What the call for an answer is for; its reply is told what it took, its user when little is left."""

    async def warn(standing: LimitStanding) -> None:
        await cl.context.emitter.send_toast(say_nearly_used(standing, language), "warning")

    whose = purpose_of_session("chat", thread_id)
    return Purpose(
        whose.kind,
        user_id=whose.user_id,
        thread_id=thread_id,
        step_id=reply.message.id,
        assistant=whose.assistant,
        on_call=reply.called,
        on_warning=warn,
    )
