"""The assistants of a takeout: those that the user owns, with all versions and pictures.

Who else may use them is left out, because it names other people. So an assistant that was for named users is for its
owner alone after an import. The versions are checked like those that an application saves.
"""

import base64
import binascii
import hashlib
from collections import Counter, defaultdict
from contextlib import aclosing
from typing import Any

from sqlalchemy import ColumnElement, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.assistants.checking import Problems, check_picture, check_settings, check_slug
from datalayer.assistants.reading import settings_as_json, settings_of_json
from datalayer.cleaning import clean_time
from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.records.assistants import ACCESS_KINDS, ACCESS_ROLES
from datalayer.schema.assistants import assistant_pictures, assistant_versions, assistants
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.format import checked_row, lines_name
from datalayer.writes.queue import Writer
from datalayer.writes.repeats import addition

_Row = dict[str, Any]


def owned_by(user_id: str) -> list[tuple[Table, ColumnElement[str], ColumnElement[bool]]]:
    """The tables to export for this user, each with the column that orders its rows, and the condition."""
    ids = select(assistants.c.id).where(assistants.c.ownerId == user_id, assistants.c.deletedAt.is_(None))
    of_them = assistant_versions.c.assistantId.in_(ids)
    shown = select(assistant_versions.c.picture).where(of_them, assistant_versions.c.picture.is_not(None))
    return [
        (assistants, func.coalesce(assistants.c.createdAt, ""), assistants.c.id.in_(ids)),
        (assistant_versions, func.coalesce(assistant_versions.c.savedAt, ""), of_them),
        (assistant_pictures, func.coalesce(assistant_pictures.c.mediaType, ""), assistant_pictures.c.sha256.in_(shown)),
    ]


class AssistantsImport:
    """Imports the assistants of one takeout: all of them or none."""

    def __init__(self, database: Database, writer: Writer, archive: TakeoutArchive) -> None:
        self._database, self._writer, self._archive = database, writer, archive
        self.counts: Counter[str] = Counter()
        """The number of imported rows by table."""
        self.left_out = 0
        """The number of assistants that exist already, or whose slug is in use."""

    async def check(self, source_id: str) -> None:
        """Read all assistants, and store nothing.

        Raises:
            InvalidRecord: an assistant belongs to someone else, or has an invalid value.
        """
        await self._read(source_id, source_id)

    async def run(self, source_id: str, user_id: str) -> None:
        """Import the assistants of the takeout's user as assistants of this user.

        Raises:
            InvalidRecord: an assistant belongs to someone else, or has an invalid value.
        """
        heads, versions, pictures = await self._read(source_id, user_id)
        if not heads:
            return

        async def store(connection: AsyncConnection) -> Counter[str]:
            return await self._store(connection, heads, versions, pictures)

        change = addition(store, assistants, [head["id"] for head in heads])
        self.counts = await self._writer.submit(change)
        self.left_out = len(heads) - self.counts[assistants.name]

    async def _read(self, source_id: str, user_id: str) -> tuple[list[_Row], dict[str, list[_Row]], list[_Row]]:
        """The assistants, their versions by their ids, and the pictures."""
        heads = [_head(row, source_id, user_id) for row in await self._rows(assistants)]
        versions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in await self._rows(assistant_versions):
            versions[row["assistantId"]].append(_version(row, source_id, user_id))
        pictures = [_picture(row) for row in await self._rows(assistant_pictures)]
        known = {row["sha256"] for row in pictures}
        for head in heads:
            own = versions[head["id"]]
            if {row["version"] for row in own} != set(range(1, head["version"] + 1)) or len(own) != head["version"]:
                raise InvalidRecord(f"the takeout lacks versions of the assistant {head['slug']!r}")
            if any(row["picture"] not in known for row in own if row["picture"] is not None):
                raise InvalidRecord(f"the takeout lacks a picture of the assistant {head['slug']!r}")
        return heads, versions, pictures

    async def _store(
        self,
        connection: AsyncConnection,
        heads: list[dict[str, Any]],
        versions: dict[str, list[dict[str, Any]]],
        pictures: list[dict[str, Any]],
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        there = (await connection.execute(select(assistants.c.id, assistants.c.slug))).all()
        taken = {one for row in there for one in row}
        new = [row for row in heads if row["id"] not in taken and row["slug"] not in taken]
        rows = [row for head in new for row in versions[head["id"]]]
        for row in pictures:
            if any(row["sha256"] == one["picture"] for one in rows):
                statement = self._database.dialect.insert(assistant_pictures).values(**row).on_conflict_do_nothing()
                counts[assistant_pictures.name] += (await connection.execute(statement)).rowcount
        for table, some in ((assistants, new), (assistant_versions, rows)):
            if some:
                await connection.execute(insert(table), some)
                counts[table.name] += len(some)
        return counts

    async def _rows(self, table: Table) -> list[dict[str, Any]]:
        found = []
        async with aclosing(self._archive.lines(lines_name("", table))) as batches:
            async for batch in batches:
                found += [checked_row(table, row) for row in batch]
        return found


def _head(row: dict[str, Any], source_id: str, user_id: str) -> dict[str, Any]:
    if row["ownerId"] != source_id:
        raise InvalidRecord("the takeout contains an assistant of another user")
    problems = Problems()
    check_slug(row["slug"], problems)
    problems.demand_none()
    if row["access"] not in ACCESS_KINDS or (row["access"] == "role") != (row["role"] in ACCESS_ROLES):
        raise InvalidRecord(f"the takeout does not say who may use the assistant {row['slug']!r}")
    return row | {"ownerId": user_id, "deletedAt": None, "createdAt": clean_time(row["createdAt"], "time")}


def _version(row: dict[str, Any], source_id: str, user_id: str) -> dict[str, Any]:
    problems = Problems()
    try:
        settings = check_settings(settings_of_json(row["settings"]), problems)
    except (TypeError, KeyError):
        raise InvalidRecord("the settings of an assistant in the takeout are not valid") from None
    problems.demand_none()
    saved_by = user_id if row["savedBy"] == source_id else None
    return row | {
        "settings": settings_as_json(settings),
        "savedBy": saved_by,
        "savedAt": clean_time(row["savedAt"], "time of a version"),
    }


def _picture(row: dict[str, Any]) -> dict[str, Any]:
    try:
        content = base64.b64decode(row["content"], validate=True)
    except binascii.Error:
        raise InvalidRecord("a picture in the takeout is not valid") from None
    problems = Problems()
    picture = check_picture(content, problems)
    problems.demand_none()
    if hashlib.sha256(content).hexdigest() != row["sha256"] or picture.media_type != row["mediaType"]:
        raise InvalidRecord("a picture in the takeout was changed")
    return row
