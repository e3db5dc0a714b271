"""Imports an export: counts it, or stores each of its conversations as a thread of one user.

A thread has an id that depends on the format, the user and its id there, so what is stored already is passed over: an
import that was interrupted goes on, and twice is once. A conversation that cannot be read or stored is named, and costs
only itself.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from datalayer import ImportedThread, InvalidRecord, User
from datalayer.thought import THOUGHT_TYPE
from threadkeeper.importing.arranging import Ids, arrange
from threadkeeper.importing.detection import reader_of
from threadkeeper.importing.files import Opener, opener_of
from threadkeeper.importing.model import Conversation, Message, Read, Unreadable
from threadkeeper.importing.names import NAMES
from threadkeeper.importing.package import BadPackage, Package
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.values import LONGEST_SHOWN_NAME, UNKNOWN_FORM, unknown_form

logger = logging.getLogger(__name__)

MOST_NAMED = 200
"""Conversations that a report names; it counts all."""
_ASKED_AT_ONCE = 100


class Store(Protocol):
    """What an import needs of the data layer."""

    async def existing_threads(self, thread_ids: Sequence[str]) -> set[str]: ...
    async def existing_messages(self, step_ids: Sequence[str]) -> set[str]: ...
    async def names_of_threads(self, thread_ids: Sequence[str]) -> dict[str, str]: ...
    async def import_thread(self, imported: ImportedThread) -> bool: ...


@dataclass(slots=True)
class Report:
    """What an import has read, and what became of it.

    `counts` has the kept things by kind: `messages`, `versions`, `thoughts`, `tools`, `files`, `votes`, `archived`,
    `pinned`. `left_out` has what is not kept: `missing_files`, and what the readers name.
    """

    source: str = ""
    conversations: int = 0
    """That could be read."""
    new: int = 0
    existing: int = 0
    failed: int = 0
    failures: list[Unreadable] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    oldest: str | None = None
    newest: str | None = None
    expiring: int = 0
    """Threads that are so old that the retention deletes them soon."""
    grown: int = 0
    """Existing threads that lack the last message of their conversation: it went on after it was imported."""

    def fail(self, failure: Unreadable) -> None:
        self.failed += 1
        if len(self.failures) < MOST_NAMED:
            self.failures.append(failure)

    def as_json(self) -> dict[str, Any]:
        """The report as the result of a job."""
        return {
            "source": self.source,
            "conversations": self.conversations,
            "new": self.new,
            "existing": self.existing,
            "failed": self.failed,
            "failures": [
                {"name": one.name, "reason": str(one.reason), "message": one.reason.as_json()} for one in self.failures
            ],
            "counts": dict(self.counts),
            "left_out": dict(self.left_out),
            "oldest": self.oldest,
            "newest": self.newest,
            "expiring": self.expiring,
            "grown": self.grown,
        }


async def run_import(
    store: Store,
    paths: Sequence[Path],
    user: User,
    *,
    dry_run: bool = False,
    by_day: bool = False,
    expired_before: str | None = None,
    progressed: Callable[[Report], Awaitable[None]] | None = None,
) -> Report:
    """Import the files, which are one export, for this user, who must be the acting one.

    Args:
        dry_run: only count.
        by_day: one thread for each day, if the export has questions and answers without conversations (Gemini).
        expired_before: the retention deletes threads whose last activity was before this time (UTC, as stored).
        progressed: called after each conversation.

    Raises:
        BadPackage: no file can be read, or none is in a known format.
        Forbidden: the acting user is another one.
        BlobError, StorageUnavailable: nothing can be stored now. What is stored stays.
        OSError: a file cannot be read.
    """
    package = await asyncio.to_thread(Package, paths)
    try:
        reader, entries, others = await asyncio.to_thread(reader_of, package, by_day=by_day)
        found = _Import(store, user, reader.source, opener_of(package), dry_run=dry_run)
        found.expired_before = expired_before
        for name, source in others:
            values = {"name": NAMES[source], "other": NAMES[reader.source]}
            found.report.fail(Unreadable(name, Reason("import_reason_second_format", values)))
        conversations = _Conversations(reader.read(package, entries))
        try:
            # Parsing takes the CPU, so it is done in a thread.
            while (one := await asyncio.to_thread(conversations.next)) is not None:
                await found.take(one)
                if progressed is not None:
                    await progressed(found.report)
            return await found.ended()
        finally:
            await asyncio.to_thread(conversations.close)
    finally:
        package.close()


class _Import:
    def __init__(self, store: Store, user: User, source: str, opener: Opener, *, dry_run: bool) -> None:
        self._store, self._user, self._opener, self._dry_run = store, user, opener, dry_run
        self._now = datetime.now(UTC)
        self._seen: set[str] = set()
        # The last message of each thread that may exist, by its id.
        self._asked: dict[str, str] = {}
        self.report = Report(source)
        self.expired_before: str | None = None

    async def take(self, one: Read) -> None:
        if isinstance(one, Unreadable):
            self.report.fail(one)
            return
        if not any(map(_is_shown, one.messages)):
            self.report.left_out.update(one.left_out)
            return
        thread_id = Ids(self.report.source, self._user.id, one.id).thread
        if thread_id in self._seen:
            # As in two files of one export.
            self.report.left_out["duplicates"] += 1
            return
        self._seen.add(thread_id)
        name = (one.title or one.id)[:LONGEST_SHOWN_NAME]
        try:
            thread = await asyncio.to_thread(self._arranged, one)
            is_own = one.own_id is not None and bool(await self._store.names_of_threads([one.own_id]))
            is_new = not self._dry_run and not is_own and await self._store.import_thread(thread)
        except BadPackage as error:
            self.report.fail(Unreadable(name, error.reason))
            return
        except InvalidRecord as error:
            self.report.fail(Unreadable(name, Reason("import_reason_not_stored", {"detail": str(error)})))
            return
        except UNKNOWN_FORM as error:
            logger.warning("a conversation of an import was left out", exc_info=True, extra={"thread_id": thread_id})
            self.report.fail(Unreadable(name, unknown_form(error)))
            return
        self._count(one, thread)
        if is_own:
            self.report.existing += 1
        elif is_new:
            self.report.new += 1
        else:
            self._asked[thread.thread.id] = thread.steps[-1].id
            if len(self._asked) >= _ASKED_AT_ONCE:
                await self._ask()

    async def ended(self) -> Report:
        if self._asked:
            await self._ask()
        return self.report

    def _arranged(self, one: Conversation) -> ImportedThread:
        user = self._user
        source = self.report.source
        return arrange(one, source, self._opener, user_id=user.id, identifier=user.identifier, now=self._now)

    async def _ask(self) -> None:
        """Count how many of the threads exist already, and how many of these lack the last message."""
        existing = await self._store.existing_threads([*self._asked])
        last = [self._asked[thread_id] for thread_id in existing]
        self.report.existing += len(existing)
        self.report.new += len(self._asked) - len(existing)
        self.report.grown += len(set(last) - await self._store.existing_messages(last)) if last else 0
        self._asked.clear()

    def _count(self, one: Conversation, thread: ImportedThread) -> None:
        report = self.report
        report.conversations += 1
        kinds = Counter(step.type for step in thread.steps)
        report.counts.update(
            messages=kinds["user_message"] + kinds["assistant_message"],
            thoughts=kinds[THOUGHT_TYPE],
            tools=kinds["tool"],
            versions=len(thread.versions),
            files=len(thread.files),
            votes=len(thread.votes),
            archived=int(thread.thread.archived_at is not None),
            pinned=int(thread.thread.pinned_at is not None),
        )
        report.left_out.update(one.left_out)
        missing = sum(file.is_missing for message in one.messages for file in message.files)
        if missing:
            report.left_out["missing_files"] += missing
        begun, ended = thread.thread.created_at, thread.thread.updated_at
        report.oldest = min(filter(None, (report.oldest, begun)), default=None)
        report.newest = max(filter(None, (report.newest, ended)), default=None)
        report.expiring += bool(self.expired_before and ended and ended < self.expired_before)


def _is_shown(message: Message) -> bool:
    """Whether there is something to see: of a conversation that was deleted, exports have messages without words."""
    return message.kind != "hidden" and bool(message.text.strip() or message.input or message.files)


class _Conversations:
    """What a reader gives, read in threads.

    An import that is cancelled leaves a thread that still reads; what it reads cannot be closed before it has ended.
    """

    def __init__(self, given: Iterator[Read]) -> None:
        self._given = given
        self._is_read = threading.Lock()

    def next(self) -> Read | None:
        with self._is_read:
            return next(self._given, None)

    def close(self) -> None:
        close = getattr(self._given, "close", None)
        if close is not None:
            with self._is_read:
                close()
