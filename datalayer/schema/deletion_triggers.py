"""The triggers that keep a deleted thread deleted: one writes its mark, the other skips the insert of a marked thread.

The database does both, because a thread is deleted in several ways (alone, with its user, by retention, by a foreign
key, by Chainlit's own layer) and is created by several statements. None of them can forget the mark, and none needs
another round trip. On Postgres, a condition in these statements would not suffice: a statement that waited for a
deletion does not see the mark that was committed meanwhile, but each query of a trigger does.
"""

from datalayer.schema.chat import deleted_threads, threads
from datalayer.schema.ddl import follow

# For a new thread, one query. A thread in sight may be in the middle of its deletion: the lock waits for that, and the
# query after it sees the mark of that deletion.
SKIP_ON_POSTGRESQL = """
CREATE OR REPLACE FUNCTION skip_deleted_thread() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_there boolean;
    is_deleted boolean;
BEGIN
    SELECT EXISTS (SELECT 1 FROM threads t WHERE t.id = NEW.id),
        EXISTS (SELECT 1 FROM deleted_threads d WHERE d.id = NEW.id) INTO is_there, is_deleted;
    IF is_there THEN
        PERFORM 1 FROM threads t WHERE t.id = NEW.id FOR KEY SHARE;
        IF FOUND THEN
            RETURN NEW;
        END IF;
        is_deleted := EXISTS (SELECT 1 FROM deleted_threads d WHERE d.id = NEW.id);
    END IF;
    IF is_deleted THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$
"""

_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION mark_deleted_threads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_threads (id, "deletedAt")
    SELECT d.id, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM deleted d
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER thread_marked AFTER DELETE ON threads REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION mark_deleted_threads()
""",
    SKIP_ON_POSTGRESQL,
    """
CREATE TRIGGER thread_stays_deleted BEFORE INSERT ON threads FOR EACH ROW EXECUTE FUNCTION skip_deleted_thread()
""",
)

# A percent sign is written twice in DDL.
_SQLITE = (
    """
CREATE TRIGGER thread_marked AFTER DELETE ON threads BEGIN
    INSERT OR IGNORE INTO deleted_threads (id, "deletedAt")
    VALUES (OLD.id, strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', 'now'));
END
""",
    """
CREATE TRIGGER thread_stays_deleted BEFORE INSERT ON threads
WHEN EXISTS (SELECT 1 FROM deleted_threads d WHERE d.id = NEW.id)
    AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.id = NEW.id) BEGIN
    SELECT RAISE(IGNORE);
END
""",
)

deleted_threads.add_is_dependent_on(threads)
follow(deleted_threads, "after_create", _POSTGRESQL, "postgresql")
follow(deleted_threads, "after_create", _SQLITE, "sqlite")
