"""Public methods of the installation: its first steps, its latest backup, and what admins do with it.

Every method raises Forbidden unless the system acts.
"""

from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, utc_now
from datalayer.history.audit_rows import is_noted, note
from datalayer.installation import facts
from datalayer.ownership import acting_user, demand_system
from datalayer.records.audit import AuditAction
from datalayer.records.installation import DatabaseFacts, FirstSteps, Replica
from datalayer.store import DataStore


class Installation(DataStore):
    """What belongs to no user."""

    async def first_steps(self) -> FirstSteps:
        """What a new operator has done, in one statement."""
        demand_system(acting_user.get(), "the first steps")
        return await self.database.query(facts.first_steps)

    async def database_facts(self) -> DatabaseFacts:
        """The engine's version and the size of the database."""
        demand_system(acting_user.get(), "the state of the database")
        dialect = self.database.dialect
        return await self.database.query(lambda connection: facts.of_database(connection, dialect))

    async def replicas(self) -> list[Replica]:
        """The processes that run a job now, by name. One that died is listed until another one removes it."""
        demand_system(acting_user.get(), "the list of processes")
        dialect = self.database.dialect
        return await self.database.query(lambda connection: facts.replicas(connection, dialect))

    async def note_first_steps(self, what: Literal["begun", "seen", "hidden", "shown"]) -> None:
        """Store that the page of the first steps was begun, seen or hidden now; "shown" undoes "hidden"."""
        demand_system(acting_user.get(), "the first steps")
        dialect = self.database.dialect

        async def change(connection: AsyncConnection) -> None:
            value = await facts.held(connection, dialect, facts.FIRST_STEPS)
            value = {name: at for name, at in value.items() if (what, name) != ("shown", "hidden_at")}
            if what != "shown":
                value.setdefault(f"{what}_at", utc_now())
            await facts.put(connection, dialect, facts.FIRST_STEPS, value)

        await self._writer.submit(change)

    async def note_backup(self, folder: str, *, files: int, size: int, by: str) -> None:
        """Store that a backup was finished now.

        Args:
            folder: where it is, on the machine that made it.
            files: the number of its files.
            size: of the files, in bytes.
            by: who made it: the name of an admin, or "threadkeeper backup".
        """
        demand_system(acting_user.get(), "the record of backups")
        dialect = self.database.dialect
        value: dict[str, Any] = {"at": utc_now(), "folder": clean_text(folder), "files": files, "bytes": size, "by": by}
        await self._writer.submit(lambda connection: facts.put(connection, dialect, facts.BACKUP, value))

    async def note_admin_act(self, action: AuditAction, by: str, *, once: str | None = None, **details: Any) -> None:
        """Add a row to the audit for what an admin does with the installation. `details` has ids and counts.

        Args:
            action: what is done.
            by: the admin.
            once: the name of a detail. If there is a row of this action and admin with the same detail, none is added.
        """
        demand_system(acting_user.get(), "the audit")

        async def add(connection: AsyncConnection) -> None:
            if once is None or not await is_noted(connection, action, by, once, details[once]):
                await note(connection, action, by, [(None, None)], details=details)

        await self._writer.submit(add)
