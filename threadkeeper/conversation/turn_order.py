"""Runs the turns of a session one after another; an edit cancels the turn before it, and Stop cancels all.

Chainlit remembers one task for each session, and none for an edit, so the running tasks are kept here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import chainlit as cl
from chainlit.session import BaseSession, WebsocketSession

from threadkeeper.conversation.assistants import DEFAULT_CHAT, Answerer
from threadkeeper.conversation.audience import Audience, open_audience
from threadkeeper.conversation.claims import Claims
from threadkeeper.conversation.versions import Version

Task = asyncio.Task[Any]


@dataclass(eq=False)
class SessionTurns:
    """The ids of the questions asked in a session, its running tasks, the audiences of its turns, and its last buttons.

    In a `resumed` thread, the earlier questions count as asked; `refused` has those of them that a server refused, even
    if they do not say so themselves. `restored` is the version that the next turn puts back in place of a new answer.
    `answerer` answered the last turn, or will answer the first one; `opened_with` are the StepDicts of its prologue,
    and `has_profiles` is whether the page has a choice of profiles. `claimed` is whether the thread is claimed already.
    `prompts` are the texts of the prompts that the composer offers, by name. `opening_warning` is what the user was
    warned of when the chat was opened, and `opened_at` the time at which it was open (of `time.monotonic`).
    """

    asked: set[str] = field(default_factory=set)
    resumed: bool = False
    refused: set[str] = field(default_factory=set)
    running: list[Task] = field(default_factory=list)
    audiences: list[Audience] = field(default_factory=list)
    offers: list[cl.Action] = field(default_factory=list)
    restored: Version | None = None
    answerer: Answerer = DEFAULT_CHAT
    has_profiles: bool = False
    claimed: bool = False
    opened_with: list[dict[str, Any]] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    opening_warning: str = ""
    opened_at: float | None = None


class Turns:
    """The turns of every session of this process.

    Attributes:
        claims: those of the threads in which they run.
    """

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self._sessions: WeakKeyDictionary[BaseSession, SessionTurns] = WeakKeyDictionary()

    def of(self, session: BaseSession) -> SessionTurns:
        return self._sessions.setdefault(session, SessionTurns())

    @asynccontextmanager
    async def turn(self, session: BaseSession, question_id: str) -> AsyncIterator[bool]:
        """Wait for earlier turns, and run one of the current task. Yields whether the question is asked again.

        A question that is asked again (an edit or a second try) cancels the earlier turns of the session. A turn of
        another page, of a program or of another process is waited for in any case.
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
            waits = turns.resumed or len(turns.asked) > 1
            async with nullcontext() if turns.claimed else self.claims.turn(session.thread_id, waits=waits):
                yield again
        finally:
            turns.running = [one for one in turns.running if one is not task]

    @contextmanager
    def audience(self, session: BaseSession) -> Iterator[None]:
        """Send the events of the block also to pages that resume the thread meanwhile."""
        if not isinstance(session, WebsocketSession):
            yield
            return
        turns, audience = self.of(session), open_audience(session)
        turns.audiences.append(audience)
        try:
            yield
        finally:
            turns.audiences.remove(audience)

    def audiences_of(self, thread_id: str) -> list[Audience]:
        """The audiences of the turns that are running in this thread."""
        turns = [turns for session, turns in self._sessions.items() if session.thread_id == thread_id]
        return [audience for one in turns for audience in one.audiences]

    def tasks_of(self, thread_id: str) -> list[Task]:
        """The thread's running tasks in all sessions."""
        sessions = [session for session in list(self._sessions) if session.thread_id == thread_id]
        return list(dict.fromkeys(task for session in sessions for task in self.running(session)))

    def stop_answering(self, thread_id: str) -> list[Task]:
        """Stop the turns of the thread that do not wait, whether they have a claim or not; gives their tasks."""
        sessions = [session for session in list(self._sessions) if session.thread_id == thread_id]
        # Later ones of a session wait for its oldest one.
        oldest = dict.fromkeys(task for session in sessions for task in self.running(session)[:1])
        answering = [task for task in oldest if not self.claims.is_waiting(task)]
        for task in answering:
            if not task.cancelling():
                # Once: a turn that ends stores its text so far.
                task.cancel()
        return answering

    def running(self, session: BaseSession) -> list[Task]:
        """The running tasks of the session, oldest first."""
        return [task for task in self.of(session).running if not task.done()]

    def threads_of_programs(self) -> set[str]:
        """The threads in which this process answers a program now, and sends what happens to every page of them."""
        sessions = [one for one in list(self._sessions) if not isinstance(one, WebsocketSession)]
        return {one.thread_id for one in sessions if self.running(one)}

    def everything(self) -> list[Task]:
        """The running tasks of all sessions."""
        return [task for session in list(self._sessions) for task in self.running(session)]
