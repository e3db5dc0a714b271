"""Users. As in Chainlit's own layer, the id of a user is the identifier."""

from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import MOST_INSIDE, update
from datalayer.dynamodb.changes import merged
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Attribute, Item, escaped, text_of, to_attribute, values_of
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import StorageUnavailable
from datalayer.records.chat import User
from datalayer.records.writes import UserWrite

_ATTEMPTS = 4


class Users:
    """Stores and finds users in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def find(self, identifier: str) -> User | None:
        """The user with this identifier, or None."""
        if not identifier:
            return None
        item = await self._table.get(keys.user_key(identifier))
        return None if item is None else _record(item)

    async def store(self, write: UserWrite) -> User:
        """Store a user at login. An existing user keeps id and time, and the metadata is merged in.

        Raises:
            InvalidRecord: the identifier is empty or too long.
        """
        user = write.user
        key, metadata = keys.user_key(user.identifier), user.metadata
        first: dict[str, Attribute] = {
            **{name: {"S": user.identifier} for name in ("id", "identifier")},
            "createdAt": {"S": user.created_at or ""},
        }
        inside: dict[str, Attribute | None] = {escaped(name): to_attribute(one) for name, one in metadata.items()}
        if len(inside) > MOST_INSIDE:
            return await self._store_many_keys(key, first, inside)
        values: dict[str, Attribute] = {":map": {"S": "M"}}
        ways = (
            # Most logins are of users who exist.
            update(
                key,
                sets={},
                defaults=first,
                inside={"metadata": inside},
                condition="attribute_type(metadata, :map)",
                values=values,
            ),
            update(key, sets={"metadata": to_attribute(metadata)}, defaults=first),
        )
        for way in ways:
            try:
                answer = await self._table.call("update_item", **way["Update"], ReturnValues="ALL_NEW")
            except ConditionFailed:
                continue
            return _record(answer["Attributes"])
        raise AssertionError("the last way has no condition")

    async def _store_many_keys(
        self, key: Item, first: dict[str, Attribute], inside: dict[str, Attribute | None]
    ) -> User:
        for _ in range(_ATTEMPTS):
            found = ((await self._table.get(key)) or {}).get("metadata")
            way = update(
                key,
                sets={"metadata": merged(found, inside)},
                defaults=first,
                condition="attribute_not_exists(metadata)" if found is None else "metadata = :older",
                values={} if found is None else {":older": found},
            )
            try:
                answer = await self._table.call("update_item", **way["Update"], ReturnValues="ALL_NEW")
            except ConditionFailed:
                continue
            return _record(answer["Attributes"])
        raise StorageUnavailable("the user is being changed by too many others")

    async def delete(self, identifier: str) -> bool:
        """Delete the user's item; whether it existed."""
        answer = await self._table.call("delete_item", Key=keys.user_key(identifier), ReturnValues="ALL_OLD")
        return "Attributes" in answer


def _record(item: Item) -> User:
    values = values_of(item)
    metadata = values.get("metadata")
    return User(
        id=str(values.get("id") or values.get("identifier")),
        identifier=str(values.get("identifier") or str(item["PK"]["S"]).removeprefix("USER#")),
        metadata=metadata if isinstance(metadata, dict) else {},
        created_at=text_of(item, "createdAt"),
    )
