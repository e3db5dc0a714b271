"""Shows a wait before a request is repeated, second by second. It is on the page only; nothing of it is stored."""

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable

import chainlit as cl
from chainlit.config import config
from chainlit.step import StepDict

from datalayer.cleaning import utc_now
from threadkeeper.chat.context.steps import NOTICE_STATUS
from threadkeeper.chat.wording import say

_SHOWN_FROM_SECONDS = 1.0


def counted_down(thread_id: str, language: str) -> Callable[[float], Awaitable[None]]:
    """A function that waits the given seconds. If the wait is cancelled, as by Stop, it leaves the page too."""

    async def wait(seconds: float) -> None:
        if seconds < _SHOWN_FROM_SECONDS:
            await asyncio.sleep(seconds)
            return
        step, whole = _message(thread_id), math.ceil(seconds)
        try:
            for left in range(whole, 0, -1):
                step["output"] = say("waiting", language, seconds=left)
                # A page that has the message already takes the new text; one that was opened meanwhile gets both.
                await cl.context.emitter.send_step(step)
                await asyncio.sleep(seconds - whole + 1 if left == whole else 1)
        finally:
            await cl.context.emitter.delete_step(step)

    return wait


def _message(thread_id: str) -> StepDict:
    now = utc_now()
    return {
        "id": str(uuid.uuid4()),
        "threadId": thread_id,
        "parentId": None,
        "type": "assistant_message",
        "name": config.ui.name,
        "input": "",
        "output": "",
        "createdAt": now,
        "start": now,
        "end": now,
        "streaming": False,
        "isError": False,
        "metadata": {"status": NOTICE_STATUS},
    }
