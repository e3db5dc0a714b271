"""SQL of the first answers to requests with an `Idempotency-Key`."""

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in, utc_now
from datalayer.dialects import Dialect
from datalayer.records.keys import ApiReply
from datalayer.schema.keys import api_replies

KEPT_SECONDS = 24 * 3_600.0
# An answer that takes longer was begun by a process that has died.
_ANSWERING_SECONDS = 900.0
_replies = api_replies.c


async def begin(connection: AsyncConnection, dialect: Dialect, key_id: str, name: str, digest: str) -> ApiReply | None:
    """Begin an answer, and forget old ones; gives the answer that was begun before."""
    is_old = _replies.createdAt < utc_in(-KEPT_SECONDS)
    is_dead = and_(_replies.status.is_(None), _replies.createdAt < utc_in(-_ANSWERING_SECONDS))
    await connection.execute(delete(api_replies).where(_replies.keyId == key_id, or_(is_old, is_dead)))
    begun = dialect.insert(api_replies).values(keyId=key_id, name=name, digest=digest, createdAt=utc_now())
    begun = begun.on_conflict_do_nothing().returning(_replies.name)
    if (await connection.execute(begun)).first() is not None:
        return None
    found = select(_replies.digest, _replies.status, _replies.headers, _replies.body)
    row = (await connection.execute(found.where(_replies.keyId == key_id, _replies.name == name))).first()
    if row is None:
        # Forgotten by its own request between the two statements.
        return ApiReply(digest)
    return ApiReply(row.digest, row.status, dict(row.headers or {}), row.body or "")


async def end(connection: AsyncConnection, key_id: str, name: str, reply: ApiReply, thread_id: str | None) -> None:
    """Store the answer that was begun."""
    values = {"status": reply.status, "headers": reply.headers, "body": reply.body, "threadId": thread_id}
    chosen = _replies.keyId == key_id, _replies.name == name, _replies.status.is_(None)
    await connection.execute(update(api_replies).where(*chosen).values(values))


async def drop(connection: AsyncConnection, key_id: str, name: str) -> None:
    """Forget an answer that was begun and not ended."""
    chosen = _replies.keyId == key_id, _replies.name == name, _replies.status.is_(None)
    await connection.execute(delete(api_replies).where(*chosen))
