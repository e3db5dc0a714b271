"""The triggers of the review: they mark changed threads, keep earlier versions of messages and protect the audit.

Triggers write the marks, because the data of an answer changes in many ways, as with the search (`search_triggers`).
They keep versions, because an edit of a message is an ordinary write of its step. They protect the audit from the
application itself: only entries that `audit_retentions` declares old enough can be deleted, and its own rows never.
"""

from datalayer.schema.ddl import follow
from datalayer.schema.review import answers, audit_entries

# One trigger marks a new step for the search and for the review, and one a changed step: a second one would cost each
# message as much again. The conditions are in the functions, because Postgres reads the text of a WHEN again for each
# statement, which takes longer than the call.
STEPS_ON_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION mark_new_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.input <> '' OR NEW.output <> '' THEN
        INSERT INTO search_pending ("threadId", "stepId", "userId")
        VALUES (NEW."threadId", NEW.id, (SELECT t."userId" FROM threads t WHERE t.id = NEW."threadId"));
    END IF;
    IF NEW.type = 'assistant_message' THEN
        INSERT INTO review_pending ("threadId") VALUES (NEW."threadId");
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER step_made AFTER INSERT ON steps FOR EACH ROW EXECUTE FUNCTION mark_new_step()
""",
    """
CREATE OR REPLACE FUNCTION mark_changed_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.input IS DISTINCT FROM NEW.input OR OLD.output IS DISTINCT FROM NEW.output THEN
        INSERT INTO search_pending ("threadId", "stepId", "userId")
        VALUES (NEW."threadId", NEW.id, (SELECT t."userId" FROM threads t WHERE t.id = NEW."threadId"));
        IF OLD.type = 'user_message' AND OLD.output <> '' AND OLD.output IS DISTINCT FROM NEW.output THEN
            INSERT INTO step_versions ("stepId", "threadId", change, type, name, output, "createdAt", "replacedAt")
            VALUES (OLD.id, OLD."threadId", 'edited', OLD.type, OLD.name, OLD.output, OLD."createdAt",
                coalesce(NEW."updatedAt", NEW."createdAt", ''));
        END IF;
    END IF;
    IF NEW.type = 'assistant_message' AND (OLD.type, OLD."isError", OLD."parentId", OLD."createdAt")
        IS DISTINCT FROM (NEW.type, NEW."isError", NEW."parentId", NEW."createdAt") THEN
        INSERT INTO review_pending ("threadId") VALUES (NEW."threadId");
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER step_changed AFTER UPDATE OF type, input, output, "isError", "parentId", "createdAt" ON steps
FOR EACH ROW EXECUTE FUNCTION mark_changed_step()
""",
)

THREADS_ON_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION mark_changed_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.name IS DISTINCT FROM NEW.name OR OLD."userId" IS DISTINCT FROM NEW."userId" THEN
        INSERT INTO search_pending ("threadId", "userId") VALUES (NEW.id, NEW."userId");
    END IF;
    IF OLD."userId" IS DISTINCT FROM NEW."userId" THEN
        INSERT INTO search_pending ("threadId", "stepId", "userId")
        SELECT NEW.id, s.id, NEW."userId" FROM steps s WHERE s."threadId" = NEW.id;
    END IF;
    IF OLD."userId" IS DISTINCT FROM NEW."userId" OR OLD.tags IS DISTINCT FROM NEW.tags THEN
        INSERT INTO review_pending ("threadId") VALUES (NEW.id);
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER thread_changed AFTER UPDATE OF name, "userId", tags ON threads FOR EACH ROW
EXECUTE FUNCTION mark_changed_thread()
""",
)

_MARKS_POSTGRESQL = (
    "CREATE INDEX review_answers_of_tag ON review_answers USING gin (tags) WHERE tags IS NOT NULL",
    """
CREATE OR REPLACE FUNCTION mark_for_review() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO review_pending ("threadId") VALUES (NEW."threadId");
    RETURN NULL;
END $$
""",
    *STEPS_ON_POSTGRESQL,
    *THREADS_ON_POSTGRESQL,
    """
CREATE TRIGGER review_vote_cast AFTER INSERT OR UPDATE ON feedbacks FOR EACH ROW EXECUTE FUNCTION mark_for_review()
""",
    """
CREATE TRIGGER review_call_made AFTER INSERT OR UPDATE ON llm_calls FOR EACH ROW
WHEN (NEW."threadId" IS NOT NULL AND NEW."stepId" IS NOT NULL) EXECUTE FUNCTION mark_for_review()
""",
)

_MARK_SQLITE = 'BEGIN INSERT INTO review_pending ("threadId") VALUES (NEW."threadId"); END'
_MARKS_SQLITE = (
    f"CREATE TRIGGER review_answer_made AFTER INSERT ON steps WHEN NEW.type = 'assistant_message' {_MARK_SQLITE}",
    f"""
CREATE TRIGGER review_answer_changed AFTER UPDATE OF type, "isError", "parentId", "createdAt" ON steps
WHEN NEW.type = 'assistant_message' AND (OLD.type IS NOT NEW.type OR OLD."isError" IS NOT NEW."isError"
    OR OLD."parentId" IS NOT NEW."parentId" OR OLD."createdAt" IS NOT NEW."createdAt") {_MARK_SQLITE}
""",
    f"CREATE TRIGGER review_vote_cast AFTER INSERT ON feedbacks {_MARK_SQLITE}",
    f"CREATE TRIGGER review_vote_changed AFTER UPDATE ON feedbacks {_MARK_SQLITE}",
    f"""
CREATE TRIGGER review_call_made AFTER INSERT ON llm_calls
WHEN NEW."threadId" IS NOT NULL AND NEW."stepId" IS NOT NULL {_MARK_SQLITE}
""",
    f"""
CREATE TRIGGER review_call_changed AFTER UPDATE ON llm_calls
WHEN NEW."threadId" IS NOT NULL AND NEW."stepId" IS NOT NULL {_MARK_SQLITE}
""",
    """
CREATE TRIGGER review_thread_changed AFTER UPDATE OF "userId", tags ON threads
WHEN OLD."userId" IS NOT NEW."userId" OR OLD.tags IS NOT NEW.tags BEGIN
    INSERT INTO review_pending ("threadId") VALUES (NEW.id);
END
""",
    """
CREATE TRIGGER review_question_edited AFTER UPDATE OF output ON steps
WHEN OLD.type = 'user_message' AND OLD.output <> '' AND OLD.output IS NOT NEW.output BEGIN
    INSERT INTO step_versions ("stepId", "threadId", change, type, name, output, "createdAt", "replacedAt")
    VALUES (OLD.id, OLD."threadId", 'edited', OLD.type, OLD.name, OLD.output, OLD."createdAt",
        coalesce(NEW."updatedAt", NEW."createdAt", ''));
END
""",
)

_AUDIT_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION guard_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_entries' THEN
        IF EXISTS (SELECT 1 FROM audit_retentions r WHERE OLD.at < r."olderThan") THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'restrict_violation';
END $$
""",
    *(
        f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION guard_audit()"
        for table in ("audit_entries", "audit_retentions")
    ),
    *(
        f"CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION guard_audit()"
        for table in ("audit_entries", "audit_retentions")
    ),
)


def _is_there(table: str) -> str:
    return f"EXISTS (SELECT 1 FROM {table} there WHERE there.id = NEW.id)"  # noqa: S608  of two names below


_REFUSED = "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
_OLD_ENOUGH = 'EXISTS (SELECT 1 FROM audit_retentions r WHERE OLD.at < r."olderThan")'
_AUDIT_SQLITE = (
    f"CREATE TRIGGER audit_entries_kept BEFORE UPDATE ON audit_entries {_REFUSED}",
    f"CREATE TRIGGER audit_entries_whole BEFORE DELETE ON audit_entries WHEN NOT {_OLD_ENOUGH} {_REFUSED}",
    f"CREATE TRIGGER audit_retentions_kept BEFORE UPDATE ON audit_retentions {_REFUSED}",
    f"CREATE TRIGGER audit_retentions_whole BEFORE DELETE ON audit_retentions {_REFUSED}",
    # INSERT OR REPLACE replaces a row without firing the trigger for deletions.
    f"CREATE TRIGGER audit_entries_once BEFORE INSERT ON audit_entries WHEN {_is_there('audit_entries')} {_REFUSED}",
    "CREATE TRIGGER audit_retentions_once BEFORE INSERT ON audit_retentions "
    f"WHEN {_is_there('audit_retentions')} {_REFUSED}",
)


audit_entries.add_is_dependent_on(audit_entries.metadata.tables["audit_retentions"])
follow(answers, "after_create", _MARKS_POSTGRESQL, "postgresql")
follow(answers, "after_create", _MARKS_SQLITE, "sqlite")
follow(audit_entries, "after_create", _AUDIT_POSTGRESQL, "postgresql")
follow(audit_entries, "after_create", _AUDIT_SQLITE, "sqlite")
