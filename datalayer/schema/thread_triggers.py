"""The triggers that keep what lists of threads need: whether the owner gave a thumb in a thread, and counts of tags.

The database keeps both, because votes, tags and owners change in many ways, as with the search (`search_triggers`). A
message changes none of them and fires no trigger here.
"""

from datalayer.schema.chat import folder_counts, threads
from datalayer.schema.ddl import follow
from datalayer.schema.review import answers

# Without statistics, Postgres expects half of a user's threads to have the thumb, and reads them in the order of the
# list. With statistics it expects two or three, thinks sorting them as good, and sorts the thousands of some users.
# In `note_votes_in`, the lock first: the statement after it sees the votes of whoever had the lock before.
POSTGRESQL = (
    'ALTER TABLE threads ALTER COLUMN "votedUp" SET STATISTICS 0, ALTER COLUMN "votedDown" SET STATISTICS 0',
    """
CREATE OR REPLACE FUNCTION note_votes_in(thread uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM threads t WHERE t.id = thread FOR NO KEY UPDATE;
    UPDATE threads t SET "votedUp" = voted.up, "votedDown" = voted.down
    FROM (
        SELECT coalesce(bool_or(f.value = 1), false) AS up, coalesce(bool_or(f.value = 0), false) AS down
        FROM threads o JOIN feedbacks f ON f."threadId" = o.id AND f."userId" = o."userId" WHERE o.id = thread
    ) voted
    WHERE t.id = thread AND (t."votedUp" <> voted.up OR t."votedDown" <> voted.down);
END $$
""",
    """
CREATE OR REPLACE FUNCTION note_vote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM note_votes_in(OLD."threadId");
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW."threadId" <> OLD."threadId" THEN
        PERFORM note_votes_in(NEW."threadId");
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER vote_noted AFTER INSERT OR UPDATE OF value, "userId", "threadId" OR DELETE ON feedbacks
FOR EACH ROW EXECUTE FUNCTION note_vote()
""",
    # What is counted already is the same before and after most changes: the sum of the two is then zero.
    """
CREATE OR REPLACE FUNCTION count_folders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD."userId" IS DISTINCT FROM NEW."userId" THEN
            PERFORM note_votes_in(NEW.id);
        END IF;
        IF OLD.tags IS NULL AND NEW.tags IS NULL THEN
            RETURN NULL;
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        IF NEW.tags IS NULL THEN
            RETURN NULL;
        END IF;
    ELSIF OLD.tags IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO folder_counts ("userId", "userIdentifier", tag, threads)
    SELECT c.owner, c.name, c.tag, sum(c.change) FROM (
        SELECT OLD."userId" AS owner, OLD."userIdentifier" AS name, old_tag AS tag, -1 AS change
        FROM unnest(OLD.tags) old_tag WHERE OLD."archivedAt" IS NULL AND OLD."expiresAt" IS NULL
        UNION
        SELECT NEW."userId", NEW."userIdentifier", new_tag, 1
        FROM unnest(NEW.tags) new_tag WHERE NEW."archivedAt" IS NULL AND NEW."expiresAt" IS NULL
    ) c
    WHERE c.tag IS NOT NULL AND EXISTS (SELECT 1 FROM users u WHERE u.id = c.owner)
    GROUP BY c.owner, c.name, c.tag HAVING sum(c.change) <> 0;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER folders_counted
AFTER INSERT OR UPDATE OF tags, "userId", "userIdentifier", "archivedAt", "expiresAt" OR DELETE ON threads
FOR EACH ROW EXECUTE FUNCTION count_folders()
""",
)

_VOTED_ON_SQLITE = """EXISTS (
        SELECT 1 FROM feedbacks f WHERE f."threadId" = threads.id AND f."userId" = threads."userId" AND f.value = {}
    )"""
VOTES_ON_SQLITE = f"""
UPDATE threads SET "votedUp" = {_VOTED_ON_SQLITE.format(1)},
    "votedDown" = {_VOTED_ON_SQLITE.format(0)}
"""  # noqa: S608  of the texts above


def _noted(thread: str) -> str:
    return f"{VOTES_ON_SQLITE} WHERE id = {thread};"


def _tags_of(row: str, change: int) -> str:
    """The tags of the thread with this change of their counts; also another program may have stored them."""
    return f"""SELECT {row}."userId" AS owner, {row}."userIdentifier" AS name, tags.value AS tag, {change} AS change
        FROM json_each(CASE WHEN json_valid({row}.tags) THEN {row}.tags ELSE '[]' END) tags
        WHERE tags.type = 'text' AND {row}."archivedAt" IS NULL AND {row}."expiresAt" IS NULL"""  # noqa: S608


def _counted(changes: str) -> str:
    return f"""INSERT INTO folder_counts ("userId", "userIdentifier", tag, threads)
    SELECT c.owner, c.name, c.tag, sum(c.change) FROM ({changes}) c
    WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = c.owner)
    GROUP BY c.owner, c.name, c.tag HAVING sum(c.change) <> 0;"""  # noqa: S608


_ONCE = "SELECT DISTINCT * FROM ({})"
_BEFORE, _AFTER = _tags_of("OLD", -1), _tags_of("NEW", 1)
TRIGGERS_ON_SQLITE = {
    "vote_noted_cast": f"""
CREATE TRIGGER vote_noted_cast AFTER INSERT ON feedbacks BEGIN {_noted('NEW."threadId"')} END
""",
    "vote_noted_changed": f"""
CREATE TRIGGER vote_noted_changed AFTER UPDATE OF value, "userId", "threadId" ON feedbacks BEGIN
    {_noted('OLD."threadId"')} {_noted('NEW."threadId"')}
END
""",
    "vote_noted_withdrawn": f"""
CREATE TRIGGER vote_noted_withdrawn AFTER DELETE ON feedbacks BEGIN {_noted('OLD."threadId"')} END
""",
    "votes_noted_given": f"""
CREATE TRIGGER votes_noted_given AFTER UPDATE OF "userId" ON threads WHEN OLD."userId" IS NOT NEW."userId" BEGIN
    {_noted("NEW.id")}
END
""",
    "folders_counted_made": f"""
CREATE TRIGGER folders_counted_made AFTER INSERT ON threads WHEN NEW.tags IS NOT NULL BEGIN
    {_counted(_ONCE.format(_AFTER))}
END
""",
    "folders_counted_changed": f"""
CREATE TRIGGER folders_counted_changed
AFTER UPDATE OF tags, "userId", "userIdentifier", "archivedAt", "expiresAt" ON threads
WHEN OLD.tags IS NOT NULL OR NEW.tags IS NOT NULL BEGIN
    {_counted(f"{_BEFORE} UNION {_AFTER}")}
END
""",
    "folders_counted_gone": f"""
CREATE TRIGGER folders_counted_gone AFTER DELETE ON threads WHEN OLD.tags IS NOT NULL BEGIN
    {_counted(_ONCE.format(_BEFORE))}
END
""",
}

# The last of the tables that the functions read.
folder_counts.add_is_dependent_on(threads)
answers.add_is_dependent_on(folder_counts)
follow(answers, "after_create", POSTGRESQL, "postgresql")
follow(answers, "after_create", tuple(TRIGGERS_ON_SQLITE.values()), "sqlite")
