"""Public methods for the claims of turns: a thread answers one question at a time, over all processes.

A claim ends by itself, by the clock of the database, unless its process keeps it; so the threads of a process that
died are free again within seconds.
"""

from collections.abc import Collection
from typing import NamedTuple

from datalayer.cleaning import clean_id
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user, demand_system
from datalayer.store import DataStore
from datalayer.turns import rows

MOST_WATCHED = 1_000


class ThreadChange(NamedTuple):
    """The state of a thread: its last activity, the number of its steps, the time of the last change of its newest
    step, the id of that step, and whether a turn has it, in any process. What is not known is None."""

    updated_at: str | None
    steps: int
    newest_at: str | None
    newest_id: str | None
    is_claimed: bool


class TurnClaims(DataStore):
    """Claims of threads for turns, and what tells that a thread has changed."""

    async def claim_turn(self, thread_id: str, holder: str, seconds: float) -> bool:
        """Claim the thread for a turn: one statement. False if another turn has it.

        Args:
            thread_id: of a thread, which need not be stored yet.
            holder: the id of the turn.
            seconds: after which the claim ends, unless it is kept.

        Raises:
            Forbidden: a user acts.
            InvalidRecord: an id is not valid.
        """
        demand_system(acting_user.get(), "the claim of a turn")
        thread, turn, dialect = (
            clean_id(thread_id, "thread id"),
            clean_id(holder, "id of a turn"),
            self.database.dialect,
        )
        return bool(
            await self._writer.submit(lambda connection: rows.claim(connection, dialect, thread, turn, seconds))
        )

    async def keep_turns(self, holders: Collection[str], seconds: float) -> dict[str, bool]:
        """Let the claims of these turns end so many seconds from now; gives the turns that have their claim still, and
        whether each was asked to stop.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the claims of turns")
        turns, dialect = [clean_id(one, "id of a turn") for one in holders], self.database.dialect
        kept: dict[str, bool] = await self._writer.submit(
            lambda connection: rows.keep(connection, dialect, turns, seconds)
        )
        return kept

    async def deleted_among(self, thread_ids: Collection[str]) -> set[str]:
        """Those of these threads that were deleted. Claims go with their thread, so `keep_turns` does not tell.

        Raises:
            Forbidden: a user acts.
            InvalidRecord: an id is not valid.
        """
        demand_system(acting_user.get(), "the deleted threads")
        ids = [clean_id(one, "thread id") for one in thread_ids]
        return await self.database.query(lambda connection: rows.deleted(connection, ids))

    async def stop_turn(self, thread_id: str, holder: str | None = None) -> str | None:
        """Ask the turn that has a thread of the acting user to stop. Its process learns that from `keep_turns`.

        Gives the id of the turn; None if no turn has the thread, or the thread belongs to somebody else.

        Args:
            thread_id: of the thread.
            holder: only this turn, and no later one.

        Raises:
            InvalidRecord: an id is not valid.
        """
        actor, dialect, thread = acting_user.get(), self.database.dialect, clean_id(thread_id, "thread id")
        turn = None if holder is None else clean_id(holder, "id of a turn")
        stopped: str | None = await self._writer.submit(
            lambda connection: rows.stop(connection, dialect, thread, actor, turn)
        )
        return stopped

    async def release_turn(self, holder: str) -> None:
        """End the claim of this turn, if it has one.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the claim of a turn")
        turn = clean_id(holder, "id of a turn")
        await self._writer.submit(lambda connection: rows.release(connection, turn))

    async def thread_changes(self, thread_ids: Collection[str]) -> dict[str, ThreadChange]:
        """What tells whether the messages of these threads have changed, and whether a turn has them: one statement.

        Threads that do not exist are left out.

        Raises:
            Forbidden: a user acts.
            InvalidRecord: an id is not valid, or there are more than MOST_WATCHED.
        """
        demand_system(acting_user.get(), "the watch of threads")
        if len(thread_ids) > MOST_WATCHED:
            raise InvalidRecord(f"at most {MOST_WATCHED} threads are watched at once")
        ids, dialect = [clean_id(one, "thread id") for one in thread_ids], self.database.dialect
        found = await self.database.query(lambda connection: rows.changes(connection, dialect, ids))
        return {row[0]: ThreadChange(row[1], row[2], row[3], row[4], row[5] is not None) for row in found}
