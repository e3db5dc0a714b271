"""Queries of Chainlit's page about the acting user's threads: the step that a vote belongs to, and search excerpts."""

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts.erasure import demand_thread
from datalayer.cleaning import clean_text, clean_thread, known_id, utc_now
from datalayer.conditions import Condition
from datalayer.errors import InvalidRecord
from datalayer.history import feedback, users
from datalayer.history import threads as threads_of
from datalayer.history.copying import demand_shareable
from datalayer.history.excerpts import excerpt, marked
from datalayer.history.removed_answers import ANSWER
from datalayer.history.search import WANTED, wanted
from datalayer.history.threads import get as thread_of
from datalayer.ownership import acting_user, may_write, recorded
from datalayer.records.chat import Feedback, FoundThread, Thread
from datalayer.records.writes import ThreadWrite, VoteWrite
from datalayer.schema.chat import feedback_changes, feedbacks, search_texts, steps, threads
from datalayer.store import DataStore
from datalayer.thought import speech_of
from datalayer.writes.apply import apply, demand
from datalayer.writes.repeats import conditional

_MOST_THREADS = 100
_LENGTH = 160
_RUN = "run"


class OwnThreads(DataStore):
    """Methods for the acting user; an anonymous visitor and the system own no threads."""

    async def change_thread(
        self,
        thread_id: str,
        *,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
        is_pinned: bool | None = None,
        is_archived: bool | None = None,
        only_if: Condition[Thread] | None = None,
    ) -> None:
        """As `update_thread` and `organize_threads`, if the thread is as the condition wants it: in one transaction.

        Args:
            thread_id: of a thread that exists.
            name, metadata, tags: as for `update_thread`.
            is_pinned, is_archived: as for `organize_threads`.
            only_if: what it must be like; None for any.

        Raises:
            NotFound: the thread does not exist.
            RecordChanged: it is another.
            Forbidden: it belongs to someone else, or is a copy, and would be shared.
            InvalidRecord: it is to be both pinned and archived.
        """
        if is_pinned and is_archived:
            raise InvalidRecord("a thread is either pinned or archived")
        record = clean_thread(thread_id, name=name, metadata=metadata, tags=tags)
        actor = acting_user.get()
        now = utc_now()
        write = ThreadWrite(record, now, *recorded(actor))

        async def change(connection: AsyncConnection) -> None:
            await demand(connection, record.id, actor)
            await demand_thread(connection, record.id, only_if or (lambda _: True))
            await demand_shareable(connection, record.id, metadata)
            await apply(connection, self.database.dialect, write)
            await threads_of.mark(connection, [record.id], now, is_pinned=is_pinned, is_archived=is_archived)

        async def read(connection: AsyncConnection) -> Thread | None:
            return await thread_of(connection, record.id)

        await self._writer.settled(record.id)
        await self._writer.submit(conditional(change, read), record.id, self._note_write)

    async def vote_on_answer(self, answer_id: str, value: int, *, thread_id: str | None = None) -> str | None:
        """Vote on an answer of an own thread; returns the step that has the vote.

        Chainlit stores the vote on an answer on the answer's run. A vote of this value that is there already stays as
        it is, with its comment and reasons.

        Args:
            answer_id: the step that is shown with the thumbs.
            value: 1 (up) or 0 (down).
            thread_id: only if the step is an assistant's message in this thread.

        Returns:
            The id of the run or, without one, of the answer; None if the user has no such answer.

        Raises:
            InvalidRecord: the value is neither 0 nor 1.
        """
        if value not in (0, 1):
            raise InvalidRecord("a vote is 1 (up) or 0 (down)")
        actor, known = acting_user.get(), known_id(answer_id)
        if known is None:
            return None

        async def find(connection: AsyncConnection) -> tuple[str, str, int | None] | None:
            row = (await connection.execute(_voted_step(known))).first()
            if row is None or not may_write(actor, row.userIdentifier):
                return None
            if thread_id is not None and (row.threadId != thread_id or row.type != "assistant_message"):
                return None
            step_id = row.runId or row.id
            own = select(feedbacks.c.value).where(feedbacks.c.forId == step_id, feedbacks.c.userId == row.userId)
            return step_id, row.threadId, (await connection.execute(own)).scalar()

        await self._writer.settled()
        target = await self.database.query(find)
        if target is None:
            return None
        step_id, thread_id, present = target
        if present != value:
            vote = Feedback(str(uuid.uuid4()), step_id, value, thread_id)
            await self._write("vote", VoteWrite(vote, utc_now(), *recorded(actor)))
        return step_id

    async def restore_vote(self, answer_id: str, removed_id: str) -> Feedback | None:
        """Cast the user's last vote on a removed step again, for an answer of the same thread that was put back.

        Args:
            answer_id: the answer in an own thread.
            removed_id: the run or the answer that had the vote when it was removed.

        Returns:
            The vote; None if there was none, or it had been withdrawn.
        """
        actor, known, removed = acting_user.get(), known_id(answer_id), known_id(removed_id)
        if known is None or removed is None:
            return None
        # Made before the queue gets the work: if it is repeated, it stores the same rows of the history.
        new_id, now, later = str(uuid.uuid4()), utc_now(), utc_now()

        async def restore(connection: AsyncConnection) -> Feedback | None:
            row = (await connection.execute(_voted_step(known))).first()
            if row is None or not may_write(actor, row.userIdentifier):
                return None
            change = feedback_changes.c
            own = [change.forId == removed, change.threadId == row.threadId, change.userId == row.userId]
            last = select(feedback_changes).where(*own).order_by(change.changedAt.desc(), change.id.desc()).limit(1)
            vote = (await connection.execute(last)).first()
            if vote is None or vote.value is None:
                return None
            cast_again = Feedback(new_id, row.runId or row.id, vote.value, row.threadId, row.userId, vote.comment)
            dialect = self.database.dialect
            kept = await feedback.upsert(connection, dialect, cast_again, now=now)
            cast_again = replace(cast_again, id=kept)
            if vote.reasons:
                await feedback.give_reasons(
                    connection, dialect, cast_again, reasons=vote.reasons, comment=None, now=later
                )
            return cast_again

        restored: Feedback | None = await self._writer.submit(restore)
        return restored

    async def excerpts(self, words: str, thread_ids: Collection[str]) -> list[FoundThread]:
        """The title and the first text with the words, marked, of those of these threads that are the acting user's."""
        actor, dialect, words = acting_user.get(), self.database.dialect, clean_text(words)
        ids = [known for one in list(thread_ids)[:_MOST_THREADS] if (known := known_id(one)) is not None]

        user = await self.database.query(lambda connection: users.acting(connection, actor))
        query = wanted(type(dialect), user.id, words) if user else None
        if user is None or query is None or not ids:
            return []

        async def find(connection: AsyncConnection) -> list[FoundThread]:
            named = select(threads.c.id, threads.c.name).where(threads.c.id.in_(ids), threads.c.userId == user.id)
            names = {thread_id: name or "" for thread_id, name in await connection.execute(named)}
            order = steps.c.createdAt, steps.c.id
            place = func.row_number().over(partition_by=steps.c.threadId, order_by=order).label("place")
            hits = (
                select(steps.c.id, place)
                .join(search_texts, search_texts.c.stepId == steps.c.id)
                .where(search_texts.c.threadId.in_(names), dialect.matches_words(WANTED))
                .subquery()
            )
            texts = select(steps.c.threadId, steps.c.type, steps.c.output, steps.c.input)
            texts = texts.join(hits, hits.c.id == steps.c.id).where(hits.c.place == 1)
            said = {
                thread_id: (speech_of(output or "") if kind == ANSWER else output or "", given or "")
                for thread_id, kind, output, given in await connection.execute(texts, {"wanted": query})
            }
            return [
                FoundThread(
                    thread_id,
                    marked(name, words),
                    next(filter(None, (excerpt(text, words, _LENGTH) for text in said.get(thread_id, ()))), ()),
                )
                for thread_id, name in names.items()
            ]

        await self._writer.settled()
        await self.search_indexer.own_left(user.id)
        return await self.database.query(find)

    async def own_texts_to_index(self) -> int:
        """How many of the acting user's texts a search cannot find yet; 0 means that its result is complete.

        Up to 10,000 texts are indexed by this call, and by a search.
        """
        actor = acting_user.get()
        user = await self.database.query(lambda connection: users.acting(connection, actor))
        return 0 if user is None else await self.search_indexer.own_left(user.id)


def _voted_step(answer_id: str) -> Select[Any]:
    """The answer with its thread, the thread's owner, and its run, which has the vote if there is one."""
    parent = steps.alias("parent")
    return (
        select(
            *(steps.c.id, steps.c.threadId, steps.c.type),
            parent.c.id.label("runId"),
            threads.c.userIdentifier,
            threads.c.userId,
        )
        .join(threads, threads.c.id == steps.c.threadId)
        .outerjoin(parent, and_(parent.c.id == steps.c.parentId, parent.c.type == _RUN))
        .where(steps.c.id == answer_id)
    )
