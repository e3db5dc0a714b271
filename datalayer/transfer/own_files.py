"""Files of their own for the elements of copied threads.

In SQL, a fork or a reviewer's copy names the files of the original, and a file is deleted with the last row that names
it. On DynamoDB the files of a thread are deleted with it. So an element that names a file of another thread gets a copy
of the file on its way to a table. On the way back to a database that has the element, it names the original again.
"""

from collections.abc import Sequence
from hashlib import sha256

from sqlalchemy import func, select

from datalayer.blobs.base import is_key
from datalayer.cleaning import known_id
from datalayer.database import Database
from datalayer.dynamodb.items import Item, text_of
from datalayer.dynamodb.keys import ELEMENT, thread_of
from datalayer.schema.chat import elements, threads
from datalayer.transfer.item_rows import COPIED_FROM, Row
from datalayer.transfer.sql_rows import SqlRows


async def give(database: Database, rows: Sequence[Row]) -> None:
    """Change the keys of those rows of elements that name a file of another thread; the file itself is not copied."""
    foreign = [row for row in rows if row["objectKey"] and _begin(row["objectKey"]) != row["threadId"]]
    if not foreign:
        return
    object_keys = {row["objectKey"] for row in foreign}
    named = select(elements.c.objectKey).where(elements.c.objectKey.in_(object_keys))
    ids = {one for key in object_keys if (one := known_id(_begin(key))) is not None}
    async with database.read() as connection:
        several = named.group_by(elements.c.objectKey).having(func.count() > 1)
        shared = set((await connection.execute(several)).scalars())
        of_threads = set((await connection.execute(select(threads.c.id).where(threads.c.id.in_(ids)))).scalars())
    for row in foreign:
        key = row["objectKey"]
        # Keys of other programs begin with anything, and no store can read some of them.
        if is_key(key) and (key in shared or _begin(key) in of_threads):
            row[COPIED_FROM], row["objectKey"] = key, _own_key(row["threadId"], row["id"], key)


async def give_back(sql_rows: SqlRows, rows: Sequence[Row], items: Sequence[Item]) -> list[Row]:
    """Name the originals in those rows, of these items, that the database has with them; gives the other rows."""
    originals = {str(one["SK"]["S"]).removeprefix(ELEMENT): key for one in items if (key := _original_of(one))}
    if not originals:
        return list(rows)
    there = {one["id"]: one["objectKey"] for one in await sql_rows.where(elements, "id", list(originals))}
    others: list[Row] = []
    for row in rows:
        if row["id"] in there and there[row["id"]] == originals[row["id"]]:
            row["objectKey"] = originals[row["id"]]
        else:
            others.append(row)
    return others


def _original_of(item: Item) -> str | None:
    """The key of the original, if the element still has the copy of it."""
    key = text_of(item, COPIED_FROM)
    if key is None:
        return None
    own = _own_key(thread_of(item), str(item["SK"]["S"]).removeprefix(ELEMENT), key)
    return key if text_of(item, "objectKey") == own else None


def _own_key(thread_id: str, element_id: str, original: str) -> str:
    return f"{thread_id}/{element_id}-{sha256(original.encode()).hexdigest()[:8]}"


def _begin(object_key: str) -> str:
    return object_key.partition("/")[0]
