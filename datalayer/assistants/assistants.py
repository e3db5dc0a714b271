"""Public methods for assistants: list, read, make, save, restore, delete, and their numbers.

Admins make assistants; the owner and admins change them; others see those that they may use. Each save is a version,
which is never changed. Access and owner are rights and not part of a version: they hold for all versions at once, so a
restored version gives nobody access that was taken away since.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.assistants import numbers, reading, storing
from datalayer.assistants.checking import (
    Problems,
    check_access,
    check_picture,
    check_settings,
    check_slug,
    slug_of,
)
from datalayer.cleaning import clean_text
from datalayer.errors import Forbidden, NotFound
from datalayer.history import owned_knowledge
from datalayer.ownership import SYSTEM, acting_user, kind_of
from datalayer.records.assistants import (
    Assistant,
    AssistantAccess,
    AssistantNumbers,
    AssistantPicture,
    AssistantSettings,
)
from datalayer.store import DataStore
from datalayer.writes.repeats import deletion

Change = Callable[[AsyncConnection, storing.Head, str], Awaitable[int]]
"""Stores a version under the given id on a connection; gives its number."""


class Assistants(DataStore):
    """Assistants of the acting user."""

    async def list_assistants(self) -> list[Assistant]:
        """The newest versions of the assistants that the acting user may use, by name. `access` names no users."""
        actor = acting_user.get()
        return await self.database.query(lambda connection: reading.listed(connection, actor))

    async def usable_assistant(self, slug: str) -> Assistant:
        """The newest version of an assistant, for a chat: one statement. `access` names no users.

        Raises:
            NotFound: there is no such assistant, or it was deleted.
            Forbidden: the acting user may not use it.
        """
        actor, slug = acting_user.get(), clean_text(slug)
        statement = reading.current_of_slug(kind_of(actor))
        rows = await self.database.fetch(statement, reading.parameters(actor, slug=slug))
        assistant, may_use = reading.read_row(rows[0]) if rows else (None, False)
        if assistant is None:
            raise NotFound(f"there is no assistant {slug[:100]!r}")
        if not may_use:
            raise Forbidden(f"the assistant {slug[:100]!r} is for others")
        return assistant

    async def get_assistant(self, slug: str, version: int | None = None) -> Assistant:
        """A version of an assistant, by default the newest. Only those who may edit it see the names of its users.

        Raises:
            NotFound: there is no such assistant or version, or the acting user may not use it.
        """
        actor, slug = acting_user.get(), clean_text(slug)

        async def read(connection: AsyncConnection) -> Assistant | None:
            found = await reading.versions(connection, actor, slug, version=version)
            if not found:
                return None
            return await _with_users(connection, found[0]) if found[0].may_edit else found[0]

        assistant = await self.database.query(read)
        if assistant is None:
            raise NotFound(f"there is no assistant {slug[:100]!r}")
        return assistant

    async def list_assistant_versions(self, slug: str) -> list[Assistant]:
        """All versions of an assistant, newest first, for those who may edit it.

        Raises:
            NotFound: there is no such assistant, or the acting user may not use it.
            Forbidden: the acting user may use it, but not edit it.
        """
        actor, slug = acting_user.get(), clean_text(slug)
        found = await self.database.query(lambda connection: reading.versions(connection, actor, slug, version=None))
        if not found:
            raise NotFound(f"there is no assistant {slug[:100]!r}")
        if not found[0].may_edit:
            raise Forbidden(f"only its owner and admins see the versions of the assistant {slug!r}")
        return found

    async def may_create_assistants(self) -> bool:
        """Whether the acting user may make assistants."""
        actor = acting_user.get()
        try:
            await self.database.query(lambda connection: storing.demand_admin(connection, actor))
        except Forbidden:
            return False
        return True

    async def create_assistant(
        self,
        settings: AssistantSettings,
        *,
        slug: str | None = None,
        access: AssistantAccess | None = None,
        owner: str | None = None,
        picture: bytes | None = None,
    ) -> Assistant:
        """Make an assistant; returns its first version.

        Args:
            settings: what it is.
            slug: names it in threads, calls and addresses, and never changes; made of the name by default.
            access: who may use it; everyone by default.
            owner: the identifier of a user who may change it; by default the acting user.
            picture: a PNG, JPEG, GIF or WebP file of at most 256 kB.

        Raises:
            InvalidAssistant: fields are not valid.
            AlreadyExists: the slug is in use, or was.
            Forbidden: the acting user is no admin.
        """
        actor, problems = acting_user.get(), Problems()
        cleaned = check_settings(settings, problems)
        new_slug = check_slug(slug_of(cleaned.name) if slug is None else slug, problems)
        new_access = check_access(access or AssistantAccess(), problems)
        checked = None if picture is None else check_picture(picture, problems)
        problems.demand_none()
        owner = (actor if isinstance(actor, str) else None) if owner is None else clean_text(owner) or None
        version_id = str(uuid.uuid4())

        async def create(connection: AsyncConnection) -> Assistant:
            if await storing.is_stored(connection, version_id) is None:
                await storing.demand_admin(connection, actor)
                head = await storing.add(connection, self.database.dialect, new_slug, None)
                unknown = Problems()
                await storing.set_access(connection, head, new_access, unknown)
                await storing.set_owner(connection, head, owner, unknown)
                unknown.demand_none()
                shown = await storing.put_picture(connection, self.database.dialect, checked) if checked else None
                saved_by = await storing.acting_id(connection, actor)
                await storing.add_version(
                    connection, head, cleaned, version_id=version_id, picture=shown, saved_by=saved_by
                )
            return await _stored(connection, new_slug, 1)

        made: Assistant = await self._writer.submit(create)
        return made

    async def save_assistant(
        self,
        slug: str,
        settings: AssistantSettings,
        *,
        expected_version: int | None = None,
        access: AssistantAccess | None = None,
        owner: str | None = None,
        picture: bytes | None = None,
    ) -> Assistant:
        """Save a new version of an assistant; returns it.

        Args:
            slug: the assistant.
            settings: what it is from now on.
            expected_version: the version that the change is based on; None overwrites whatever is there.
            access: who may use it from now on; None changes nothing.
            owner: its new owner; an empty text for none, None changes nothing.
            picture: its new picture; empty for none, None changes nothing.

        Raises:
            InvalidAssistant: fields are not valid.
            NotFound: there is no such assistant.
            Forbidden: the acting user may not change it.
            VersionConflict: someone else has saved a newer version.
        """
        problems = Problems()
        cleaned = check_settings(settings, problems)
        new_access = None if access is None else check_access(access, problems)
        checked = check_picture(picture, problems) if picture else None
        problems.demand_none()

        async def save(connection: AsyncConnection, head: storing.Head, version_id: str) -> int:
            unknown = Problems()
            if new_access is not None:
                await storing.set_access(connection, head, new_access, unknown)
            if owner is not None:
                await storing.set_owner(connection, head, clean_text(owner).strip() or None, unknown)
            unknown.demand_none()
            if picture is None:
                shown = await storing.picture_of_version(connection, head)
            else:
                shown = await storing.put_picture(connection, self.database.dialect, checked) if checked else None
            saved_by = await storing.acting_id(connection, actor)
            return await storing.add_version(
                connection, head, cleaned, version_id=version_id, picture=shown, saved_by=saved_by
            )

        actor = acting_user.get()
        return await self._change(slug, save, expected_version)

    async def restore_assistant(self, slug: str, version: int, *, expected_version: int | None = None) -> Assistant:
        """Save the settings and picture of an earlier version as a new version; access and owner stay as they are.

        Raises:
            NotFound: there is no such assistant or version.
            Forbidden: the acting user may not change it.
            VersionConflict: someone else has saved a newer version.
        """
        actor = acting_user.get()

        async def restore(connection: AsyncConnection, head: storing.Head, version_id: str) -> int:
            earlier = await reading.versions(connection, SYSTEM, head.slug, version=version)
            if not earlier:
                raise NotFound(f"the assistant {head.slug!r} has no version {version}")
            return await storing.add_version(
                connection,
                head,
                earlier[0].settings,
                version_id=version_id,
                picture=earlier[0].picture,
                saved_by=await storing.acting_id(connection, actor),
                restored_from=version,
            )

        return await self._change(slug, restore, expected_version)

    async def delete_assistant(self, slug: str, *, expected_version: int | None = None) -> None:
        """Delete an assistant with all versions and all that it knows. Its threads stay and are answered by the default
        from then on.

        Raises:
            VersionConflict: this is not its newest version.
            NotFound: there is no such assistant.
            Forbidden: the acting user may not change it.
        """
        actor, slug = acting_user.get(), clean_text(slug)

        async def remove(connection: AsyncConnection) -> list[str]:
            head = await storing.demand_editable(connection, actor, slug)
            storing.demand_version(head, expected_version)
            await storing.mark_deleted(connection, head)
            return await owned_knowledge.remove(connection, [slug])

        await self.file_deleter.delete(await self._writer.submit(deletion(remove)), None)

    async def assistant_picture(self, slug: str, sha256: str) -> AssistantPicture:
        """The picture of any version of an assistant that the acting user may use.

        Raises:
            NotFound: the assistant has no such picture, or the acting user may not use it.
        """
        actor, slug = acting_user.get(), clean_text(slug)

        async def read(connection: AsyncConnection) -> AssistantPicture | None:
            return await reading.picture(connection, actor, slug, sha256)

        picture = await self.database.query(read)
        if picture is None:
            raise NotFound(f"the assistant {slug[:100]!r} has no such picture")
        return picture

    async def assistant_numbers(self, slug: str) -> AssistantNumbers:
        """Threads, votes, cost and `idk` answers of an assistant, for those who may edit it.

        Raises:
            NotFound: there is no such assistant.
            Forbidden: the acting user may not edit it.
        """
        if not (await self.get_assistant(slug)).may_edit:
            raise Forbidden(f"only its owner and admins see the numbers of the assistant {slug!r}")
        await self._writer.settled()
        await self.answer_follower.caught_up()
        return await self.database.query(lambda connection: numbers.of_assistant(connection, clean_text(slug)))

    async def _change(self, slug: str, change: Change, expected_version: int | None) -> Assistant:
        actor, slug, version_id = acting_user.get(), clean_text(slug), str(uuid.uuid4())

        async def work(connection: AsyncConnection) -> Assistant:
            # The answer to an earlier attempt, which was committed, may have been lost.
            version = await storing.is_stored(connection, version_id)
            if version is None:
                head = await storing.demand_editable(connection, actor, slug)
                storing.demand_version(head, expected_version)
                version = await change(connection, head, version_id)
            return await _stored(connection, slug, version)

        saved: Assistant = await self._writer.submit(work)
        return saved


async def _stored(connection: AsyncConnection, slug: str, version: int) -> Assistant:
    """The version as it was stored, for the user who stored it."""
    return await _with_users(connection, (await reading.versions(connection, SYSTEM, slug, version=version))[0])


async def _with_users(connection: AsyncConnection, assistant: Assistant) -> Assistant:
    if assistant.access.kind != "users":
        return assistant
    users = await reading.named_users(connection, assistant.id)
    return replace(assistant, access=replace(assistant.access, users=users))
