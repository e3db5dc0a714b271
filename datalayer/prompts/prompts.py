"""Prompts of the acting user: their own, and those that admins share with everyone."""

import re
import uuid
from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, utc_now
from datalayer.errors import AlreadyExists, Forbidden, InvalidRecord, NotFound
from datalayer.history import users
from datalayer.ownership import acting_user
from datalayer.prompts import rows
from datalayer.records.chat import User
from datalayer.records.prompts import Prompt
from datalayer.store import DataStore
from datalayer.writes.repeats import removal

LONGEST_NAME = 40
LONGEST_TEXT = 20_000
MOST_PROMPTS = 200
"""Of a user."""
_NAME = re.compile(r"[\w.-]+")
_SHARING: Collection[str] = ("admin",)


class Prompts(DataStore):
    """Methods for the acting user. A visitor and the system have no prompts."""

    async def list_prompts(self) -> list[Prompt]:
        """The acting user's prompts and the shared ones of others, by name. Of two of one name, one's own is first."""
        actor = acting_user.get()
        await self._writer.settled()
        return await rows.of_actor(self.database, actor) if isinstance(actor, str) else []

    async def put_prompt(
        self, name: str, text: str, *, is_shared: bool = False, prompt_id: str | None = None
    ) -> Prompt:
        """Keep a new prompt, or change one of the acting user's.

        Args:
            name: 1 to 40 letters, digits, dots, dashes and underscores.
            text: 1 to 20,000 characters. Parts such as `{language}` are to be filled in.
            is_shared: whether every user gets it; only admins share.
            prompt_id: the prompt to change; None keeps a new one.

        Raises:
            AlreadyExists: the user has another prompt of this name.
            Forbidden: there is no acting user, or a user who is no admin shares.
            InvalidRecord: name or text is not valid, or the user has MOST_PROMPTS.
            NotFound: the user has no such prompt.
        """
        (name, text), actor, now = clean_prompt(name, text), acting_user.get(), utc_now()
        known = None if prompt_id is None else clean_id(prompt_id, "prompt id")
        new_id = str(uuid.uuid4())

        async def put(connection: AsyncConnection) -> Prompt:
            user = _demand_user(await users.acting(connection, actor))
            if is_shared and user.role not in _SHARING:
                raise Forbidden("only admins share prompts")
            prompt = Prompt(known or new_id, name, text, user.identifier, is_shared, now)
            if known is None and await rows.count(connection, user.id, except_id=new_id) >= MOST_PROMPTS:
                raise InvalidRecord(f"a user has at most {MOST_PROMPTS} prompts")
            if await rows.has_name(connection, user.id, name, except_id=prompt.id):
                raise AlreadyExists(f"there is a prompt {name!r} already")
            if known is not None and not await rows.exists_of(connection, user.id, known):
                raise NotFound(f"there is no prompt {known}")
            await rows.store(connection, self.database.dialect, user.id, prompt)
            return prompt

        kept: Prompt = await self._writer.submit(put)
        return kept

    async def delete_prompt(self, prompt_id: str) -> bool:
        """Delete one of the acting user's prompts; False if there is none. Admins delete shared ones of others, too."""
        actor, known = acting_user.get(), clean_id(prompt_id, "prompt id")

        async def delete(connection: AsyncConnection) -> bool:
            user = await users.acting(connection, actor)
            return user is not None and await rows.remove(connection, known, user.id, shared=user.role in _SHARING)

        return bool(await self._writer.submit(removal(delete)))


def clean_prompt(name: str, text: str) -> tuple[str, str]:
    """The name and the text as they are stored.

    Raises:
        InvalidRecord: one of them is not as `put_prompt` takes it.
    """
    name, text = clean_text(name).strip(), clean_text(text).strip()
    if len(name) > LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise InvalidRecord(f"the name of a prompt has 1 to {LONGEST_NAME} letters, digits, dots and dashes")
    if not 0 < len(text) <= LONGEST_TEXT:
        raise InvalidRecord(f"a prompt has 1 to {LONGEST_TEXT:,} characters")
    return name, text


def _demand_user(user: User | None) -> User:
    if user is None:
        raise Forbidden("prompts belong to users")
    return user
