"""What the search needs of a database beyond tables: triggers that mark what is to be indexed, and the index itself.

Marks are made by the database, because a text is written, renamed, given to a user and moved over in many ways, by
Chainlit's own layer and an older version of this one among them, and none may be forgotten. A mark is one small row;
to make it costs a write a few microseconds. See `search_index`.
"""

from sqlalchemy import DDL, event

from datalayer.schema.chat import search_texts

_POSTGRESQL = (
    # `fastupdate` would leave what is new in a heap that each search reads through.
    "CREATE INDEX search_texts_words ON search_texts USING gin (words) WITH (fastupdate = off)",
    """
CREATE OR REPLACE FUNCTION mark_step_for_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_pending ("threadId", "stepId") VALUES (NEW."threadId", NEW.id);
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE FUNCTION mark_thread_for_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_pending ("threadId") VALUES (NEW.id);
    IF TG_OP = 'UPDATE' AND OLD."userId" IS DISTINCT FROM NEW."userId" THEN
        INSERT INTO search_pending ("threadId", "stepId") SELECT NEW.id, s.id FROM steps s WHERE s."threadId" = NEW.id;
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER search_step_made AFTER INSERT ON steps FOR EACH ROW
WHEN (NEW.input <> '' OR NEW.output <> '') EXECUTE FUNCTION mark_step_for_search()
""",
    """
CREATE TRIGGER search_step_changed AFTER UPDATE OF input, output ON steps FOR EACH ROW
WHEN (OLD.input IS DISTINCT FROM NEW.input OR OLD.output IS DISTINCT FROM NEW.output)
EXECUTE FUNCTION mark_step_for_search()
""",
    """
CREATE TRIGGER search_thread_made AFTER INSERT ON threads FOR EACH ROW
WHEN (NEW.name <> '') EXECUTE FUNCTION mark_thread_for_search()
""",
    """
CREATE TRIGGER search_thread_changed AFTER UPDATE OF name, "userId" ON threads FOR EACH ROW
WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD."userId" IS DISTINCT FROM NEW."userId")
EXECUTE FUNCTION mark_thread_for_search()
""",
)

_SQLITE = (
    # The tokens are made already; all that is not ASCII belongs to one. The words themselves are in `search_texts`.
    """
CREATE VIRTUAL TABLE search_words USING fts5(words, content='search_texts', content_rowid='id', detail='none',
    columnsize=0, tokenize="ascii tokenchars '_'")
""",
    """
CREATE TRIGGER search_words_added AFTER INSERT ON search_texts BEGIN
    INSERT INTO search_words (rowid, words) VALUES (NEW.id, NEW.words);
END
""",
    """
CREATE TRIGGER search_words_removed AFTER DELETE ON search_texts BEGIN
    INSERT INTO search_words (search_words, rowid, words) VALUES ('delete', OLD.id, OLD.words);
END
""",
    """
CREATE TRIGGER search_words_changed AFTER UPDATE OF words ON search_texts BEGIN
    INSERT INTO search_words (search_words, rowid, words) VALUES ('delete', OLD.id, OLD.words);
    INSERT INTO search_words (rowid, words) VALUES (NEW.id, NEW.words);
END
""",
    """
CREATE TRIGGER search_step_made AFTER INSERT ON steps WHEN NEW.input <> '' OR NEW.output <> '' BEGIN
    INSERT INTO search_pending ("threadId", "stepId") VALUES (NEW."threadId", NEW.id);
END
""",
    """
CREATE TRIGGER search_step_changed AFTER UPDATE OF input, output ON steps
WHEN OLD.input IS NOT NEW.input OR OLD.output IS NOT NEW.output BEGIN
    INSERT INTO search_pending ("threadId", "stepId") VALUES (NEW."threadId", NEW.id);
END
""",
    """
CREATE TRIGGER search_thread_made AFTER INSERT ON threads WHEN NEW.name <> '' BEGIN
    INSERT INTO search_pending ("threadId") VALUES (NEW.id);
END
""",
    """
CREATE TRIGGER search_thread_renamed AFTER UPDATE OF name ON threads WHEN OLD.name IS NOT NEW.name BEGIN
    INSERT INTO search_pending ("threadId") VALUES (NEW.id);
END
""",
    """
CREATE TRIGGER search_thread_given AFTER UPDATE OF "userId" ON threads WHEN OLD."userId" IS NOT NEW."userId" BEGIN
    INSERT INTO search_pending ("threadId") VALUES (NEW.id);
    INSERT INTO search_pending ("threadId", "stepId") SELECT NEW.id, s.id FROM steps s WHERE s."threadId" = NEW.id;
END
""",
)


def _listen(moment: str, statements: tuple[str, ...], engine: str) -> None:
    for statement in statements:
        event.listen(search_texts, moment, DDL(statement).execute_if(dialect=engine))  # type: ignore[no-untyped-call]


_listen("after_create", _POSTGRESQL, "postgresql")
_listen("after_create", _SQLITE, "sqlite")
_listen("after_drop", ("DROP TABLE search_words",), "sqlite")
