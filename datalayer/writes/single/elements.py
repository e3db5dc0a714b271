"""Elements: the announcement of a file, the row of an element, and its deletion."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Select,
    Text,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from datalayer.cleaning import utc_now
from datalayer.database import Run
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import Forbidden
from datalayer.history import deletion_marks
from datalayer.ownership import Actor, actor_of, kind_of, writable_by
from datalayer.records.chat import Element
from datalayer.records.writes import ElementDeletion, ElementWrite, FileAnnouncement, Removed
from datalayer.schema import rows
from datalayer.schema.chat import Identifier, Json, blob_deletions, elements, threads, users
from datalayer.schema.rows import column_names, newest_extra
from datalayer.writes.single.parts import acting, given, is_foreign, queued_files, thread_of
from datalayer.writes.single.statement import SingleWrite

_NAMES = tuple(column_names(Element, elements).values())


def announce_file(_dialect: Dialect, write: FileAnnouncement) -> SingleWrite:
    """Queue the deletion of a file that is about to be stored, in case its element is never stored.

    False if the thread was deleted: the file must not be stored. Refused with Forbidden if the thread belongs to
    someone else, or the element is in another thread.
    """
    actor = actor_of(write)
    values = {
        **{"new_objectKey": write.object_key, "new_id": write.element_id, "new_threadId": write.thread_id},
        **{"new_queuedAt": utc_now(), "new_dueAt": write.due_at, **acting(actor)},
    }

    def result(rows: Sequence[Any]) -> bool:
        ((foreign, elsewhere, deleted),) = rows
        _demand(foreign, elsewhere)
        if deleted:
            deletion_marks.log_drop(write.thread_id)
        return not deleted

    return SingleWrite(_announce(kind_of(actor)), values, result)


def store_element(dialect: Dialect, write: ElementWrite) -> SingleWrite:
    """Store the given fields of the element, create its thread if it does not exist, and queue the file that it
    replaces.

    Gives `Removed`, or None if the thread was deleted: nothing was stored then. Refused with Forbidden if the thread
    belongs to someone else, or an element with this id is in another thread.
    """
    element, actor = write.element, actor_of(write)
    values: dict[str, Any] = dict.fromkeys(f"new_{name}" for name in _NAMES)
    values |= {f"new_{name}": value for name, value in rows.given(element, elements).items()}
    values |= {"new_moment": write.moment, "new_actor": write.actor, "new_queuedAt": utc_now(), **acting(actor)}
    values["new_patch"] = newest_extra(element, elements)
    in_thread, has_file = element.thread_id is not None, element.object_key is not None

    def result(rows: Sequence[Any]) -> Any:
        ((foreign, elsewhere, stored, replaced),) = rows
        _demand(foreign, elsewhere)
        if stored is None:
            return UNDECIDED
        return Removed(0, (replaced,) if replaced is not None else ())

    async def without_row(run: Run) -> None:
        _demand(False, not await deletion_marks.drops(run, element.thread_id))

    statement = _store(type(dialect), kind_of(actor), in_thread=in_thread, has_file=has_file)
    return SingleWrite(statement, values, result, without_row)


def remove_element(_dialect: Dialect, write: ElementDeletion) -> SingleWrite:
    """Delete the row and queue its file, if it has one. An unknown element is not an error.

    Gives `Removed`. Refused with Forbidden if the thread belongs to someone else.
    """
    actor = actor_of(write)
    values = {"new_id": write.element_id, "new_queuedAt": utc_now(), **acting(actor)}

    def result(rows: Sequence[Any]) -> Removed:
        if not rows:
            return Removed(0)
        foreign, gone, key = rows[0]
        _demand(foreign)
        return Removed(int(gone is not None), (key,) if key is not None else ())

    return SingleWrite(_remove(kind_of(actor)), values, result)


def _demand(foreign: bool, elsewhere: bool = False) -> None:
    if foreign:
        raise Forbidden("the thread belongs to someone else")
    if elsewhere:
        raise Forbidden("an element with this id is in another thread")


@cache
def _announce(kind: Actor) -> Executable:
    """The statement that queues a file; it gives whether the thread is foreign, whether the element is in another
    thread, and whether the thread was deleted."""
    thread_id, queued_at = given("threadId", Identifier), given("queuedAt", Text())
    foreign, elsewhere = is_foreign(thread_of(thread_id, kind)), _is_elsewhere(thread_id)
    deleted = deletion_marks.is_deleted(thread_id)
    row = select(given("objectKey", Text()), thread_id, queued_at, given("dueAt", Text()))
    names = ["objectKey", "threadId", "queuedAt", "dueAt"]
    announced = insert(blob_deletions).from_select(names, row.where(~foreign, ~elsewhere, ~deleted)).cte("announced")
    return select(foreign, elsewhere, deleted).add_cte(announced)


@cache
def _store(dialect: type[Dialect], kind: Actor, *, in_thread: bool, has_file: bool) -> Executable:
    """The statement that stores an element. It gives whether the thread is foreign, whether the element is in another
    thread, the id of the stored row, and the key of the file that it replaced."""
    element_id, thread_id = given("id", Identifier), given("threadId", Identifier)
    elsewhere = _is_elsewhere(thread_id)
    foreign: ColumnElement[bool] = false()
    ready: ColumnElement[bool] = ~elsewhere
    parts: list[CTE] = []
    if in_thread:
        thread = thread_of(thread_id, kind, is_locked=True)
        foreign = is_foreign(thread)
        opened = _opened(dialect, kind, thread, ~elsewhere)
        parts.append(_touched(thread, ~elsewhere))
        there = union_all(select(thread.c.id).where(thread.c.is_own, ~elsewhere), select(opened.c.id)).cte("there")
        ready = exists(select(there.c.id))
    replaced: Any = cast(None, Text)
    if has_file:
        key = given("objectKey", Text())
        same_thread = elements.c.threadId.is_not_distinct_from(thread_id)
        # Locked, so that the file of another write that is under way is queued too.
        older = (
            select(elements.c.objectKey, elements.c.threadId)
            .where(elements.c.id == element_id, elements.c.objectKey != key, same_thread, ready)
            .with_for_update()
            .cte("older")
        )
        queued = queued_files(select(older.c.objectKey, older.c.threadId))
        # The file has a row now.
        parts += [queued, delete(blob_deletions).where(blob_deletions.c.objectKey == key, ready).cte("forgotten")]
        replaced = select(older.c.objectKey).scalar_subquery()
        # The older file is read before its row is changed.
        ready = ready & (select(func.count()).select_from(older).scalar_subquery() >= 0)
    stored = _stored(dialect, ready)
    row = select(foreign, elsewhere, select(stored.c.id).scalar_subquery(), replaced)
    return row.add_cte(*parts)


@cache
def _remove(kind: Actor) -> Executable:
    """The statement that deletes an element; it gives whether the thread is foreign, the id, and the key."""
    found = select(elements.c.id, elements.c.threadId).where(elements.c.id == given("id", Identifier)).cte("found")
    foreign = is_foreign(thread_of(select(found.c.threadId).scalar_subquery(), kind))
    gone = (
        delete(elements)
        .where(elements.c.id == found.c.id, ~foreign)
        .returning(elements.c.id, elements.c.objectKey, elements.c.threadId)
        .cte("gone")
    )
    queued = queued_files(select(gone.c.objectKey, gone.c.threadId))
    return (
        select(foreign, select(gone.c.id).scalar_subquery(), select(gone.c.objectKey).scalar_subquery())
        .select_from(found)
        .add_cte(queued)
    )


def _is_elsewhere(thread_id: ColumnElement[str]) -> ColumnElement[bool]:
    own = select(elements.c.id).where(elements.c.id == given("id", Identifier))
    return exists(own.where(elements.c.threadId.is_distinct_from(thread_id)))


def _touched(thread: CTE, is_ready: ColumnElement[bool]) -> CTE:
    moment = given("moment", Text())
    is_older = or_(threads.c.updatedAt.is_(None), threads.c.updatedAt < moment)
    own = select(thread.c.id).where(thread.c.is_own, is_ready).scalar_subquery()
    return update(threads).where(threads.c.id == own, is_older).values(updatedAt=moment).cte("touched")


def _opened(dialect: type[Dialect], kind: Actor, thread: CTE, is_ready: ColumnElement[bool]) -> CTE:
    """The thread, if it did not exist; one that another replica has created meanwhile must be the actor's."""
    moment, actor = given("moment", Text()), given("actor", Text())
    values = {
        **{"id": given("threadId", Identifier), "createdAt": moment, "updatedAt": moment},
        **{"userId": select(users.c.id).where(users.c.identifier == actor).scalar_subquery(), "userIdentifier": actor},
    }
    row = select(*values.values()).where(~exists(select(thread.c.id)), is_ready)
    made = dialect.insert(threads).from_select(list(values), row)
    latest = {"updatedAt": func.greatest(threads.c.updatedAt, made.excluded.updatedAt)}
    may_write = writable_by(kind, threads.c.userIdentifier)
    opened: CTE = (
        made.on_conflict_do_update(index_elements=[threads.c.id], set_=latest, where=may_write)
        .returning(threads.c.id)
        .cte("opened")
    )
    return opened


def _stored(dialect: type[Dialect], is_ready: ColumnElement[bool]) -> CTE:
    """The row of the element: its given fields, over those that are stored. As in `history.elements.upsert`."""
    values: dict[str, Any] = {name: given(name, elements.c[name].type) for name in _NAMES}
    filled = {
        "name": func.coalesce(values["name"], ""),
        "createdAt": func.coalesce(values["createdAt"], given("moment", Text())),
    }
    row: Select[Any] = select(*(values | filled).values()).where(is_ready)
    made = dialect.insert(elements).from_select(list(values), row)
    kept = ("id", "threadId", "createdAt", "extra")
    changes: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(values[name], elements.c[name]) for name in _NAMES if name not in kept
    }
    has_extra = or_(elements.c.extra.is_not(None), values["extra"].is_not(None))
    changes["extra"] = case((has_extra, dialect.merge_json(elements.c.extra, given("patch", Json))))
    same_thread = elements.c.threadId.is_not_distinct_from(made.excluded.threadId)
    stored: CTE = (
        made.on_conflict_do_update(index_elements=[elements.c.id], set_=changes, where=same_thread)
        .returning(elements.c.id)
        .cte("stored")
    )
    return stored
