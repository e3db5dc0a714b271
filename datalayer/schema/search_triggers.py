"""The search's triggers, which mark changed texts, and the index of the words.

The database itself writes the marks, because texts change in many ways: steps are written, threads are renamed or get
an owner, databases are adopted, and Chainlit's own layer or an older version of this library may write too. None of
these changes may be missed. A mark is one small row and costs a write a few microseconds. It names the owner of the
thread, whose search indexes it first. See `search_index`.
"""

from datalayer.schema.chat import search_texts
from datalayer.schema.ddl import follow

# The conditions are in the function, as those of `review_triggers.STEPS_ON_POSTGRESQL`.
MADE_ON_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION mark_new_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name <> '' THEN
        INSERT INTO search_pending ("threadId", "userId") VALUES (NEW.id, NEW."userId");
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER search_thread_made AFTER INSERT ON threads FOR EACH ROW EXECUTE FUNCTION mark_new_thread()
""",
)

_POSTGRESQL = (
    # New entries are collected in a list, which the indexer sorts into the index after each batch: sorting in a
    # thousand texts together takes a tenth of the time.
    "CREATE INDEX search_texts_words ON search_texts USING gin (words)",
    *MADE_ON_POSTGRESQL,
    # The other marks are written by `step_made`, `step_changed` and `thread_changed` of `review_triggers`.
)

_OF_STEP = """
    INSERT INTO search_pending ("threadId", "stepId", "userId")
    VALUES (NEW."threadId", NEW.id, (SELECT t."userId" FROM threads t WHERE t.id = NEW."threadId"));
"""
_OF_THREAD = """
    INSERT INTO search_pending ("threadId", "userId") VALUES (NEW.id, NEW."userId");
"""
_OF_ITS_STEPS = """
    INSERT INTO search_pending ("threadId", "stepId", "userId")
    SELECT NEW.id, s.id, NEW."userId" FROM steps s WHERE s."threadId" = NEW.id;
"""
TRIGGERS_ON_SQLITE = {
    "search_step_made": f"""
CREATE TRIGGER search_step_made AFTER INSERT ON steps WHEN NEW.input <> '' OR NEW.output <> '' BEGIN{_OF_STEP}END
""",
    "search_step_changed": f"""
CREATE TRIGGER search_step_changed AFTER UPDATE OF input, output ON steps
WHEN OLD.input IS NOT NEW.input OR OLD.output IS NOT NEW.output BEGIN{_OF_STEP}END
""",
    "search_thread_made": f"""
CREATE TRIGGER search_thread_made AFTER INSERT ON threads WHEN NEW.name <> '' BEGIN{_OF_THREAD}END
""",
    "search_thread_renamed": f"""
CREATE TRIGGER search_thread_renamed AFTER UPDATE OF name ON threads
WHEN OLD.name IS NOT NEW.name BEGIN{_OF_THREAD}END
""",
    "search_thread_given": f"""
CREATE TRIGGER search_thread_given AFTER UPDATE OF "userId" ON threads
WHEN OLD."userId" IS NOT NEW."userId" BEGIN{_OF_THREAD}{_OF_ITS_STEPS}END
""",
}

_SQLITE = (
    # `words` contains finished tokens, so every non-ASCII character is part of one. `search_texts` stores the words.
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
    *TRIGGERS_ON_SQLITE.values(),
)


follow(search_texts, "after_create", _POSTGRESQL, "postgresql")
follow(search_texts, "after_create", _SQLITE, "sqlite")
follow(search_texts, "after_drop", ("DROP TABLE search_words",), "sqlite")
