"""What happens to the assistants of a user who is deleted.

An assistant that nobody else may use goes with its user, and so does what it knows. Others stay for those who use them,
without an owner: admins can give them to someone else. Versions that the user saved stay without the user.
"""

from typing import Any

from sqlalchemy import Delete, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history import owned_knowledge
from datalayer.history.owned_knowledge import DeleteRows
from datalayer.schema.assistants import assistant_pictures, assistant_users, assistant_versions, assistants


async def leave(
    connection: AsyncConnection, user_id: str, delete_rows: DeleteRows
) -> tuple[tuple[str, ...], list[str]]:
    """Delete the user's private assistants, and take the user out of all others.

    Args:
        connection: in the transaction that deletes the user.
        user_id: the user.
        delete_rows: deletes and counts the rows of a table that match a condition.

    Returns:
        The ids of the assistants that stay without an owner, and the keys of the files to delete, which are queued.
    """
    for_others = exists().where(assistant_users.c.assistantId == assistants.c.id, assistant_users.c.userId != user_id)
    is_private = (assistants.c.access == "users") & ~for_others
    private = select(assistants.c.id, assistants.c.slug).where(assistants.c.ownerId == user_id, is_private)
    found = (await connection.execute(private.with_for_update())).all()
    ids, keys = [one.id for one in found], list[str]()
    await delete_rows(connection, assistant_users, assistant_users.c.userId == user_id)
    if ids:
        keys = await owned_knowledge.remove(connection, [one.slug for one in found], delete_rows)
        await delete_rows(connection, assistant_versions, assistant_versions.c.assistantId.in_(ids))
        await delete_rows(connection, assistants, assistants.c.id.in_(ids))
        await delete_rows(connection, assistant_pictures, IS_UNUSED_PICTURE)
    saved = assistant_versions.c.savedBy == user_id
    await connection.execute(update(assistant_versions).where(saved).values(savedBy=None))
    owned = update(assistants).where(assistants.c.ownerId == user_id).values(ownerId=None)
    left: list[Any] = list((await connection.execute(owned.returning(assistants.c.id))).scalars())
    return tuple(sorted(left)), keys


IS_UNUSED_PICTURE = ~exists().where(assistant_versions.c.picture == assistant_pictures.c.sha256)
"""No version has this picture."""


def delete_unused_pictures() -> Delete:
    return delete(assistant_pictures).where(IS_UNUSED_PICTURE)
