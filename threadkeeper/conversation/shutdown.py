"""Ends the answers in progress when the server stops.

Chainlit calls the application's `on_app_shutdown`, then `close()` of the data layer, then `os._exit`: nothing else of
the process is awaited.
"""

import asyncio
import contextlib

from threadkeeper.chat.model import Model
from threadkeeper.conversation.background import BackgroundTasks
from threadkeeper.conversation.turn import Answering
from threadkeeper.conversation.turn_order import Turns

STOP_SECONDS = 3.0


async def end_answers(turns: Turns, answering: Answering, background: BackgroundTasks, model: Model) -> None:
    """Cancel every turn and background task, wait until the text so far of their answers is stored, close the model.

    Waits three seconds at most, because a database that is away must not hold up the shutdown: a write that is late
    is in the queue, which the data layer stores or spools when it closes.
    """
    answering.is_stopping = True
    turns.claims.stop()
    tasks = [*turns.everything(), *background.running()]
    for task in tasks:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*answering.endings, return_exceptions=True)
    await model.close()
