"""Public methods of the models of the chat: for whom each is in the picker, and which is the default.

What is stored takes precedence over the setting OPENAI_MODELS, model by model. Which models there are, only the
application knows; any name can be stored.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.assistants import storing
from datalayer.assistants.checking import Problems, check_access
from datalayer.chat_models import rows
from datalayer.cleaning import clean_text
from datalayer.errors import InvalidRecord
from datalayer.history.audit_rows import note
from datalayer.ownership import SYSTEM, acting_user, demand_system, kind_of
from datalayer.records.assistants import AssistantAccess
from datalayer.records.chat_models import ChatModel
from datalayer.store import DataStore
from datalayer.writes.repeats import conditional

LONGEST_MODEL_NAME = 200


class ChatModels(DataStore):
    """What admins decide about the models of the chat."""

    async def usable_chat_models(self) -> list[ChatModel]:
        """All models about which something is decided, the newest decision first, and whether the acting user may use
        each; in one statement. `access` names no users."""
        actor = acting_user.get()
        parameters = {"actor": actor} if isinstance(actor, str) else {}
        return [rows.read_row(row) for row in await self.database.fetch(rows.all_for(kind_of(actor)), parameters)]

    async def list_chat_models(self) -> list[ChatModel]:
        """All models about which something is decided, the newest decision first, with the users who are named.

        Raises:
            Forbidden: the actor is not the system.
        """
        demand_system(acting_user.get(), "the list of models with their users")
        await self._writer.settled()

        return await self.database.query(_all)

    async def put_chat_model(self, name: str, access: AssistantAccess | None, *, by: str | None = None) -> None:
        """Put a model into the picker of some, or take it out.

        Args:
            name: as the server of the chat knows it.
            access: for whom it is, besides the admins; None for nobody.
            by: the admin, for the audit.

        Raises:
            InvalidRecord: the name is empty or too long.
            InvalidAssistant: the access is not valid, with the fields `access`, `role` and `users`.
            Forbidden: the actor is not the system.
        """
        demand_system(acting_user.get(), "the choice of models")
        name, problems = _checked(name), Problems()
        cleaned = None if access is None else check_access(access, problems)
        if cleaned is not None and cleaned.kind == "users" and not cleaned.users:
            problems.add("users", "nobody")
        problems.demand_none()
        dialect = self.database.dialect

        async def put(connection: AsyncConnection) -> None:
            unknown = Problems()
            ids = await storing.ids_of_users(connection, cleaned, unknown) if cleaned else []
            unknown.demand_none()
            await rows.put(connection, dialect, name, cleaned, ids)
            details: dict[str, Any] = {"model": name, "access": cleaned.kind if cleaned else rows.NOBODY}
            if cleaned is not None and cleaned.kind == "role":
                details["role"] = cleaned.role
            elif cleaned is not None and cleaned.kind == "users":
                details["users"] = ids
            await note(connection, "change_model", by, [(None, None)], details=details)

        await self._writer.submit(conditional(put, _all))

    async def reset_chat_model(self, name: str, *, by: str | None = None) -> None:
        """Leave it to the setting again for whom a model is.

        Raises:
            InvalidRecord: the name is empty or too long.
            Forbidden: the actor is not the system.
        """
        demand_system(acting_user.get(), "the choice of models")
        name = _checked(name)

        async def reset(connection: AsyncConnection) -> None:
            await rows.reset(connection, name)
            details = {"model": name, "access": "setting"}
            await note(connection, "change_model", by, [(None, None)], details=details)

        await self._writer.submit(conditional(reset, _all))

    async def put_default_chat_model(self, name: str | None, *, by: str | None = None) -> None:
        """Make a model the default of the chat; None leaves it to the setting again.

        Raises:
            InvalidRecord: the name is empty or too long.
            Forbidden: the actor is not the system.
        """
        demand_system(acting_user.get(), "the choice of models")
        name, dialect = None if name is None else _checked(name), self.database.dialect

        async def put(connection: AsyncConnection) -> None:
            await rows.put_default(connection, dialect, name)
            await note(connection, "change_default_model", by, [(None, None)], details={"model": name})

        await self._writer.submit(conditional(put, _all))


async def _all(connection: AsyncConnection) -> list[ChatModel]:
    found = [rows.read_row(row) for row in await connection.execute(rows.all_for(SYSTEM))]
    named = await rows.named_users(connection)
    return [replace(one, access=replace(one.access, users=named.get(one.name, ()))) for one in found]


def _checked(name: str) -> str:
    cleaned = clean_text(name).strip()
    if not 0 < len(cleaned) <= LONGEST_MODEL_NAME or not cleaned.isprintable():
        raise InvalidRecord(f"the name of a model has 1 to {LONGEST_MODEL_NAME} characters")
    return cleaned
