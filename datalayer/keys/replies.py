"""SQL of the first answers to requests with an `Idempotency-Key`."""

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in, utc_now
from datalayer.dialects import Dialect
from datalayer.records.keys import ApiReply
from datalayer.schema.chat import threads
from datalayer.schema.keys import api_keys, api_replies

KEPT_SECONDS = 24 * 3_600.0
# A request that takes longer was mostly begun by a process that has died. The answer of one that lives is stored.
_ANSWERING_SECONDS = 900.0
_replies = api_replies.c


async def begin(
    connection: AsyncConnection, dialect: Dialect, key_id: str, name: str, digest: str, *, moment: str
) -> ApiReply | None:
    """Begin an answer, and forget the old ones of all keys; gives the answer that was begun before.

    `moment` is the time of the request, by which `is_begun` knows its answer.
    """
    await connection.execute(delete(api_replies).where(_replies.createdAt < utc_in(-KEPT_SECONDS)))
    same = and_(_replies.keyId == key_id, _replies.name == name)
    is_dead = and_(_replies.status.is_(None), _replies.createdAt < utc_in(-_ANSWERING_SECONDS))
    await connection.execute(delete(api_replies).where(same, is_dead))
    begun = dialect.insert(api_replies).values(keyId=key_id, name=name, digest=digest, createdAt=moment)
    begun = begun.on_conflict_do_nothing().returning(_replies.name)
    if (await connection.execute(begun)).first() is not None:
        return None
    found = select(_replies.digest, _replies.status, _replies.headers, _replies.body)
    row = (await connection.execute(found.where(same))).first()
    if row is None:
        # Forgotten by its own request between the two statements.
        return ApiReply(digest)
    return ApiReply(row.digest, row.status, dict(row.headers or {}), row.body or "")


async def is_begun(connection: AsyncConnection, key_id: str, name: str, digest: str, *, moment: str) -> bool:
    """Whether the request of this time has begun its answer."""
    own = _replies.keyId == key_id, _replies.name == name, _replies.digest == digest, _replies.createdAt == moment
    return (await connection.execute(select(_replies.name).where(*own))).first() is not None


async def end(
    connection: AsyncConnection, dialect: Dialect, key_id: str, name: str, *, reply: ApiReply, thread_id: str | None
) -> None:
    """Store the answer to the request of this digest, however long ago it began.

    Nothing is stored if the key is revoked, or the thread deleted, meanwhile.
    """
    there = select(exists().where(api_keys.c.id == key_id, api_keys.c.revokedAt.is_(None)))
    if thread_id is not None:
        there = there.where(exists().where(threads.c.id == thread_id))
    if not (await connection.execute(there)).scalar():
        await drop(connection, key_id, name, reply.digest)
        return
    values = {"status": reply.status, "headers": reply.headers, "body": reply.body, "threadId": thread_id}
    statement = dialect.insert(api_replies).values(
        keyId=key_id, name=name, digest=reply.digest, createdAt=utc_now(), **values
    )
    is_own = and_(_replies.status.is_(None), _replies.digest == reply.digest)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[_replies.keyId, _replies.name], set_=values, where=is_own)
    )


async def drop(connection: AsyncConnection, key_id: str, name: str, digest: str) -> None:
    """Forget an answer that was begun and not ended, to the request of this digest."""
    chosen = _replies.keyId == key_id, _replies.name == name, _replies.digest == digest, _replies.status.is_(None)
    await connection.execute(delete(api_replies).where(*chosen))
