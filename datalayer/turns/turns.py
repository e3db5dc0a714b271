"""Public methods for the claims of turns: a thread answers one question at a time, over all processes.

A claim ends by itself, by the clock of the database, unless its process keeps it; so the threads of a process that
died are free again within seconds.
"""

from collections.abc import Collection

from datalayer.cleaning import clean_id
from datalayer.ownership import acting_user, demand_system
from datalayer.store import DataStore
from datalayer.turns import rows


class TurnClaims(DataStore):
    """Claims of threads for turns."""

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

    async def keep_turns(self, holders: Collection[str], seconds: float) -> set[str]:
        """Let the claims of these turns end so many seconds from now; gives the turns that have their claim still.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the claims of turns")
        turns, dialect = [clean_id(one, "id of a turn") for one in holders], self.database.dialect
        kept: set[str] = await self._writer.submit(lambda connection: rows.keep(connection, dialect, turns, seconds))
        return kept

    async def release_turn(self, holder: str) -> None:
        """End the claim of this turn, if it has one.

        Raises:
            Forbidden: a user acts.
        """
        demand_system(acting_user.get(), "the claim of a turn")
        turn = clean_id(holder, "id of a turn")
        await self._writer.submit(lambda connection: rows.release(connection, turn))
