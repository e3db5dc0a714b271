"""Steps and changes of one thread that are stored together: in one transaction, whatever their number.

The first attempt guesses what is stored, so it reads nothing: that the thread exists (or not, if this process does not
know it), and that no step was updated before it is created. The transaction has these guesses, the owner of the thread
and the deletion of the thread as its conditions. If one of them is not met, the items are read, and the next attempt
is made for what they are; its conditions pin that.
"""

from collections.abc import Sequence

from datalayer.dynamodb.actions import MOST_INSIDE, Action, put
from datalayer.dynamodb.changes import (
    METADATA,
    BatchWrite,
    StepChange,
    Stored,
    ThreadChange,
    favorite_entry,
    is_favorite,
    merged,
    read,
    step_action,
    thread_actions,
)
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item, size_of, text_of
from datalayer.dynamodb.keys import POINTER
from datalayer.dynamodb.long_texts import LONGEST, SHORTEST, LongTexts, Upload
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import Forbidden, InvalidRecord, NotFound, StorageUnavailable
from datalayer.history.deletion_marks import log_drop
from datalayer.ownership import SYSTEM, actor_of, demand_write
from datalayer.records.writes import StepWrite, ThreadWrite

# A favourite step has an entry beside it, and a transaction takes 100 actions.
MOST_WRITES = 45
_ATTEMPTS = 8


class Batches:
    """Stores steps and changes of threads in one table."""

    def __init__(self, table: Table, long_texts: LongTexts, recent: Recent) -> None:
        self._table, self._long_texts, self._recent = table, long_texts, recent

    async def store(self, thread_id: str, writes: Sequence[BatchWrite]) -> None:
        """Store the writes, which are of one actor, in their order; all of them, or none.

        Writes to a deleted thread are dropped, which is no error.

        Raises:
            Forbidden: the thread belongs to someone else, or would afterwards.
            NotFound: the thread does not exist, and the first write does not create it.
            InvalidRecord: the thread would belong to a user who does not exist, or a record is too large.
        """
        batch = _Batch(thread_id, writes, self._long_texts)
        try:
            is_stored = await self._insist(batch)
        except BaseException:
            # A transaction without an answer may have been carried out, and then its items name the long texts.
            await batch.upload.end(stored=False)
            raise
        await batch.upload.end(stored=is_stored)

    async def _insist(self, batch: "_Batch") -> bool:
        """Whether the batch was stored; False if it was dropped."""
        thread, thread_id = batch.thread, batch.thread_id
        stored: Stored | None = None
        # The entries of favourites in the index are under the owner. Many and long keys are merged here, and not by
        # DynamoDB.
        if (batch.favorites(None) and thread.owner is None) or batch.merges:
            stored = await read(self._table, thread_id, list(batch.steps))
        for _ in range(_ATTEMPTS):
            if stored is not None and not batch.can_be_stored(stored):
                for _ in range(thread.writes):
                    log_drop(thread_id)
                return False
            exists = self._recent.exists(thread_id) or not batch.begins if stored is None else stored.thread is not None
            actions = await batch.actions(stored, exists=exists)
            batch.upload.is_sent = True
            try:
                await self._table.transact(actions)
            except ConditionFailed as failed:
                batch.upload.is_sent = False
                # The first action is that of the thread, whose owner counts first.
                if batch.of_user in failed.at and 0 not in failed.at:
                    raise InvalidRecord(f"the user {thread.user_id!r} does not exist") from None
            except InvalidRecord:
                batch.upload.is_sent = False
                # Attributes that are not long each may be so together.
                if not (batch.steps or thread.metadata) or batch.upload.most == SHORTEST:
                    raise
                batch.upload.most = SHORTEST
                if not thread.metadata:
                    continue
            else:
                self._recent.note(thread_id, thread.owner)
                return True
            stored = await read(self._table, thread_id, list(batch.steps))
        raise StorageUnavailable("the thread is being changed by too many others")


class _Batch:
    """The changes of a batch."""

    def __init__(self, thread_id: str, writes: Sequence[BatchWrite], texts: LongTexts) -> None:
        self.thread_id, self._texts, self.upload = thread_id, texts, Upload(texts, thread_id)
        self.thread = ThreadChange(actor_of(writes[0]))
        self.steps: dict[str, StepChange] = {}
        self.of_user: int | None = None
        """The place of the action that checks the new owner."""
        for write in writes:
            self.thread.add(write)
            if isinstance(write, StepWrite):
                self.steps.setdefault(write.step.id, StepChange()).add(write)
        if self.thread.user_id is not None and self.thread.actor not in (SYSTEM, self.thread.user_id):
            raise Forbidden("the thread would belong to someone else")

        self.begins = isinstance(writes[0], ThreadWrite) or writes[0].opens
        """Whether the first write creates the thread if it does not exist."""
        given = self.thread.metadata_attributes
        self.merges = len(given) > MOST_INSIDE or (bool(given) and size_of(merged(None, given)) > LONGEST)
        """Whether the metadata are merged here: they are too many or too long to be changed key by key."""

    def can_be_stored(self, stored: Stored) -> bool:
        """False if the thread was deleted.

        Raises:
            Forbidden: it belongs to someone else.
            NotFound: it does not exist, and the first write does not create it.
        """
        if stored.thread is not None:
            demand_write(self.thread.actor, text_of(stored.thread, "userIdentifier"), "the thread")
        elif stored.is_deleted:
            return False
        elif not self.begins:
            raise NotFound("the thread does not exist")
        return True

    def favorites(self, stored: Stored | None) -> dict[str, str]:
        """The steps that are stored as favourites, and their times."""
        given = {step_id: change.resolved(_step(stored, step_id)) for step_id, change in self.steps.items()}
        return {
            step_id: text_of(item, "createdAt") or self.steps[step_id].moment
            for step_id, item in given.items()
            if is_favorite(item)
        }

    async def actions(self, stored: Stored | None, *, exists: bool) -> list[Action]:
        """The actions of the transaction, if this is stored; None stands for the guess."""
        metadata = await self._whole_metadata(stored, exists=exists)
        actions = thread_actions(self.thread_id, self.thread, stored, exists=exists, metadata=metadata)
        self.of_user = len(actions) - 1 if self.thread.user_id is not None else None
        for step_id, change in self.steps.items():
            item = _step(stored, step_id)
            given = await self.upload.shortened(step_id, change.resolved(item))
            actions.append(step_action(self.thread_id, step_id, change, given, item))
        owner = self.thread.owner
        if owner is None and stored is not None and stored.thread is not None:
            owner = text_of(stored.thread, "userId")
        if owner is not None:
            for step_id, moment in self.favorites(stored).items():
                actions.append(put(favorite_entry(self.thread_id, step_id, owner, moment)))
        return actions

    async def _whole_metadata(self, stored: Stored | None, *, exists: bool) -> Item | None:
        """The attributes with the metadata of the thread after this batch; None if they are changed key by key."""
        given = self.thread.metadata_attributes
        if not exists:
            return await self.upload.shortened(self.thread_id, {METADATA: merged(None, given)})
        item = stored.thread if stored is not None else None
        if item is None or not given:
            return None
        older = item.get(POINTER + METADATA)
        # A key in the item is over that in the file, which must be known only to remove one.
        removes_long = older is not None and None in given.values()
        if not (removes_long or self.merges or self.upload.most != LONGEST):
            return None
        if older is not None:
            item = await self._texts.whole(item)
            self.upload.replaces([older["S"]])
        return await self.upload.shortened(self.thread_id, {METADATA: merged(item.get(METADATA), given)})


def _step(stored: Stored | None, step_id: str) -> Item | None:
    return stored.steps.get(step_id) if stored is not None else None
