"""Users, as stored at login."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Executable, Text, case, exists, func, select, union_all, update

from datalayer.cleaning import name_key
from datalayer.database import Run
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import StorageUnavailable
from datalayer.history.user_names import by_given_name, name_values
from datalayer.records.chat import User
from datalayer.records.writes import UserWrite
from datalayer.schema.chat import Json, users
from datalayer.schema.rows import column_names, columns
from datalayer.writes.single.parts import given
from datalayer.writes.single.statement import SingleWrite

_COLUMNS = columns(User, users)
_MOST_TRIES = 5


def store_user(dialect: Dialect, write: UserWrite) -> SingleWrite:
    """Store the user; gives the stored one. An existing user keeps id, name and role, and the metadata is merged."""
    user = write.user
    values = {f"new_{column}": getattr(user, field) for field, column in column_names(User, users).items()}
    values |= {"new_nameKey": name_key(user.identifier), **name_values(user.identifier)}
    values["new_metadata"] = {key: value for key, value in user.metadata.items() if value is not None}
    statement = _store(type(dialect))

    def result(rows: Sequence[Any]) -> Any:
        return User(*rows[0]) if rows else UNDECIDED

    async def again(run: Run) -> User:
        for _ in range(_MOST_TRIES - 1):
            # Since the statement before began, another process has stored or deleted this name; this one sees that.
            if rows := await run(statement, values):
                return User(*rows[0])
        raise StorageUnavailable(f"the user {user.identifier!r} is being stored and deleted by others")

    return SingleWrite(statement, values, result, again)


@cache
def _store(dialect: type[Dialect]) -> Executable:
    """The statement that changes the user of this name or stores a new one, and gives the stored user."""
    found = by_given_name(select(users.c.id)).cte("found")
    key = given("nameKey", Text())
    other = users.alias("other")
    is_free = ~exists(select(other.c.id).where(other.c.nameKey == key))
    changed = (
        update(users)
        .where(users.c.id == select(found.c.id).scalar_subquery())
        .values(
            metadata=dialect.merge_json(users.c.metadata, given("metadata", Json), removes=False),
            # Chainlit's own layer, or an older replica, may have added the user without the key.
            nameKey=func.coalesce(users.c.nameKey, case((is_free, key))),
        )
        .returning(*_COLUMNS)
        .cte("changed")
    )
    values = {name: given(name, users.c[name].type) for name in column_names(User, users).values()} | {"nameKey": key}
    unknown = select(*values.values()).where(~exists(select(found.c.id)))
    made = dialect.insert(users).from_select(list(values), unknown).on_conflict_do_nothing()
    stored = made.returning(*_COLUMNS).cte("stored")
    return union_all(select(changed), select(stored))
