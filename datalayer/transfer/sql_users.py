"""The users of a DynamoDB table in the SQL database.

There a user has a UUID, and names that differ only in case are one user. A user of the table whose name exists in SQL
in another spelling is taken for that user, unless the table has both spellings: then they stay different users.
"""

from collections.abc import Iterable
from typing import Any

from cachetools import LRUCache

from datalayer.cleaning import clean_text, name_key
from datalayer.dynamodb import keys
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item
from datalayer.errors import InvalidRecord
from datalayer.schema.chat import users
from datalayer.transfer.item_rows import Row, identifier_of, user_id_of, user_row, without_column
from datalayer.transfer.report import TransferReport
from datalayer.transfer.sql_rows import SqlRows

_MOST_KNOWN = 20_000


class SqlUsers:
    """Finds and creates users; the latest are remembered."""

    def __init__(self, table: Table, rows: SqlRows, *, apply: bool, report: TransferReport) -> None:
        self._table, self._rows, self._apply, self._report = table, rows, apply, report
        self._known: LRUCache[str, Row] = LRUCache(_MOST_KNOWN)

    async def take(self, items: Iterable[Item]) -> None:
        """Store the users of these items."""
        items = list(items)
        self._report.users.found += len(items)
        made = {identifier_of(one): one for one in items}
        for one in items:
            if names := without_column(one):
                self._report.note(
                    f"users with keys that have no column (left out): {', '.join(sorted(names))}", identifier_of(one)
                )
        there = await self.of(list(made), made)
        if not self._apply:
            self._report.users.stored += sum(there[one].get("is_new", False) for one in made if one in there)

    async def of(self, identifiers: Iterable[str], items: dict[str, Item] | None = None) -> dict[str, Row]:
        """The rows of users with id and identifier, by their identifiers in the table. Missing ones are created.

        Args:
            items: of some of these users, which then need not be read.
        """
        wanted = [one for one in dict.fromkeys(identifiers) if one not in self._known]
        if wanted:
            await self._find(wanted, items or {})
        return {one: self._known[one] for one in identifiers if one in self._known}

    async def _find(self, wanted: list[str], items: dict[str, Item]) -> None:
        names = {one: clean_text(one) for one in wanted}
        exact = {row["identifier"]: row for row in await self._rows.where(users, "identifier", list(names.values()))}
        of_keys = await self._rows.where(users, "nameKey", list({name_key(one) for one in names.values()}))
        holders = {row["nameKey"]: row for row in of_keys}
        new: dict[str, Row] = {}
        others = [one for one, name in names.items() if name not in exact]
        items = items | await self._items(
            [*(one for one in others if one not in items), *(row["identifier"] for row in holders.values())]
        )
        for identifier in others:
            holder = holders.get(name_key(names[identifier]))
            if holder is not None and holder["identifier"] not in items:
                self._report.note(
                    "users who exist already in another spelling of their names (their threads go to these users)",
                    identifier,
                )
                exact[names[identifier]] = holder
                continue
            new[identifier] = self._row(identifier, items.get(identifier))
        for row in await self._create(new, holders, items):
            # It may be of another process that created the user meanwhile.
            exact[row["identifier"]] = row
        for identifier in wanted:
            self._known[identifier] = exact.get(names[identifier]) or new[identifier]

    def _row(self, identifier: str, item: Item | None) -> Row:
        if item is not None:
            return {**user_row(item), "is_new": True}
        self._report.note("users who own threads but have no item (created)", identifier)
        name = clean_text(identifier)
        return {"id": user_id_of(name), "identifier": name, "metadata": {}, "createdAt": None, "is_new": True}

    async def _create(self, new: dict[str, Row], holders: dict[str, Any], items: dict[str, Item]) -> list[Row]:
        if not new or not self._apply:
            return []
        taken_ids = {row["id"] for row in await self._rows.where(users, "id", [row["id"] for row in new.values()])}
        taken = set(holders)
        rows = []
        for row in new.values():
            key = name_key(row["identifier"])
            rows.append(
                {
                    **{name: value for name, value in row.items() if name != "is_new"},
                    # The user with this id has another name here.
                    "id": user_id_of(row["identifier"]) if row["id"] in taken_ids else row["id"],
                    "nameKey": None if key in taken else key,
                }
            )
            taken.add(key)
        stored, refused = await self._rows.insert(users, rows)
        created = {row["id"] for row in rows if row["identifier"] in items}
        self._report.users.stored += len(created.intersection(stored))
        for row, reason in refused:
            self._report.fail(self._report.users, "users that the database refuses", f"{row['identifier']}: {reason}")
        return await self._rows.where(users, "identifier", [row["identifier"] for row in rows])

    async def _items(self, identifiers: list[str]) -> dict[str, Item]:
        asked = []
        for one in dict.fromkeys(identifiers):
            try:
                asked.append(keys.user_key(one))
            except InvalidRecord:
                continue
        return {identifier_of(one): one for one in await self._table.get_many(asked)} if asked else {}
