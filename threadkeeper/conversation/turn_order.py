"""The turns of each session: one after another, an edit before its predecessor, and all of them ended by Stop.

Chainlit remembers one task a session, and for an edit none. So who is at work is remembered here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import chainlit as cl
from chainlit.session import BaseSession

Task = asyncio.Task[Any]


@dataclass(eq=False)
class SessionTurns:
    """What a session has asked so far, what is at work for it, and the button that stands under its last error.

    Of a thread that was `resumed` the earlier questions count as asked.
    """

    asked: set[str] = field(default_factory=set)
    resumed: bool = False
    running: list[Task] = field(default_factory=list)
    second_try: cl.Action | None = None


class Turns:
    """Of every session of this process."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[BaseSession, SessionTurns] = WeakKeyDictionary()

    def of(self, session: BaseSession) -> SessionTurns:
        return self._sessions.setdefault(session, SessionTurns())

    @asynccontextmanager
    async def turn(self, session: BaseSession, question_id: str) -> AsyncIterator[bool]:
        """A turn of the current task, once the ones before it have ended; says whether the question is asked again.

        A question that is asked again (edited, or tried once more) does not wait for an answer to what it was: that
        is ended.
        """
        turns, task = self.of(session), asyncio.current_task()
        assert task is not None
        again = question_id in turns.asked
        turns.asked.add(question_id)
        before = [one for one in self.running(session) if one is not task]
        turns.running = [*before, task]
        session.current_task = task
        try:
            if before:
                for earlier in before if again else []:
                    earlier.cancel()
                await asyncio.wait(before)
            yield again
        finally:
            turns.running = [one for one in turns.running if one is not task]

    def running(self, session: BaseSession) -> list[Task]:
        """The tasks at work for the session, oldest first."""
        return [task for task in self.of(session).running if not task.done()]

    def everything(self) -> list[Task]:
        """The tasks at work for any session."""
        return [task for session in list(self._sessions) for task in self.running(session)]
