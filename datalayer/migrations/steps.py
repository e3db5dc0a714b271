"""The migrations, in the order in which they are applied. Each is a function with the decorator `@migration`.

The first migration creates the tables of `schema/` and adds missing columns and indexes to existing tables (of an older
version, or of Chainlit's own layer). A migration of the phase "before" only adds: the version before it goes on working
with the database. What only the new version may meet belongs into one of the phase "after".
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Text, exists, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects.postgresql_partitions import attach_one_table, bound_one_table, key_one_table
from datalayer.history.removed_answers import ANSWER
from datalayer.history.speech import may_hold_thought
from datalayer.history.user_names import fill as fill_user_names
from datalayer.migrations import lists
from datalayer.migrations.changes import add_indexes, add_tables_and_columns
from datalayer.migrations.marking import mark_steps_once, mark_threads_once
from datalayer.schema import deletion_triggers, search_triggers
from datalayer.schema.assistants import ASSISTANT_TABLES
from datalayer.schema.chat import (
    blob_deletions,
    deleted_threads,
    search_backlog,
    search_pending,
    search_texts,
    steps,
    threads,
)
from datalayer.schema.chat_models import CHAT_MODEL_TABLES
from datalayer.schema.installation import installation_facts
from datalayer.schema.jobs import job_elections, job_replicas, jobs
from datalayer.schema.keys import KEY_TABLES, api_replies
from datalayer.schema.knowledge import KNOWLEDGE_TABLES
from datalayer.schema.people import invitations
from datalayer.schema.prompts import prompts
from datalayer.schema.review import REVIEW_TABLES, review_pending
from datalayer.schema.turns import turn_claims
from datalayer.schema.usage import (
    llm_call_payloads,
    llm_calls,
    prices,
    projects,
    providers,
    usage_limits,
    usage_reservations,
)

Phase = Literal["before", "after"]
Migration = Callable[[AsyncConnection], Awaitable[None]]

STEPS: dict[str, "Step"] = {}


@dataclass(frozen=True, slots=True)
class Step:
    """A migration, and what others wait for while it runs, beside the columns, tables and indexes that are added."""

    name: str
    run: Migration
    phase: Phase
    locks: str
    beside: Migration | None = None
    """Run before it where others use the database, not in a transaction; elsewhere the migration itself does this."""

    @property
    def purpose(self) -> str:
        """Its first sentence."""
        return " ".join((self.run.__doc__ or self.name.replace("_", " ")).partition(".")[0].split())


def migration(
    *, phase: Phase = "before", locks: str = "", beside: Migration | None = None
) -> Callable[[Migration], Migration]:
    """Register a migration under its function's name; migrations are applied in the order of this file.

    Args:
        locks: who waits on Postgres, of which table and for how long; "" if nobody does.
        beside: as in `Step`.
    """

    def register(step: Migration) -> Migration:
        STEPS[step.__name__] = Step(step.__name__, step, phase, locks, beside)
        return step

    return register


@migration()
async def build_schema(connection: AsyncConnection) -> None:
    """Create the tables and indexes of the chat, or add what an existing database of Chainlit lacks."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes)
    await lists.date_threads_and_name_voters(connection)


@migration()
async def index_reads(connection: AsyncConnection) -> None:
    """Add two indexes to databases of older versions."""
    await connection.run_sync(add_indexes, {"favorite_steps", "votes_of_user"})


@migration(locks="writers of threads without a time, until all of these have one")
async def date_threads(connection: AsyncConnection) -> None:
    """Set `updatedAt` where it is missing, because lists leave out threads without it (1970 without `createdAt`)."""
    of_old = func.coalesce(threads.c.createdAt, "1970-01-01T00:00:00.000000Z")
    await connection.execute(update(threads).where(threads.c.updatedAt.is_(None)).values(updatedAt=of_old))


@migration()
async def search_index(connection: AsyncConnection) -> None:
    """Add the index of the search. Existing texts are indexed in the background."""
    for table in (search_texts, search_pending, search_backlog):
        await connection.run_sync(table.create, checkfirst=True)
    # Existing texts are indexed in the background after the database is opened.
    for table in (steps, threads):
        something = select(literal(table.name, Text)).where(exists().select_from(table))
        await connection.execute(insert(search_backlog).from_select(["table"], something))


@migration()
async def describe_files(connection: AsyncConnection) -> None:
    """Add size and checksum of files to their rows, and an index by key."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"elements_of_file"})


@migration()
async def queue_blob_deletions(connection: AsyncConnection) -> None:
    """Add the queue of files to delete."""
    await connection.run_sync(blob_deletions.create, checkfirst=True)
    await connection.run_sync(add_indexes, {"blob_deletions_of_file"})


@migration()
async def account_for_calls(connection: AsyncConnection) -> None:
    """Add the tables of model calls, prices, projects and limits."""
    tables = (projects, providers, llm_calls, llm_call_payloads, prices, usage_limits, usage_reservations)
    for table in tables:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(add_indexes, {str(index.name) for table in tables for index in table.indexes})


@migration()
async def review_threads(connection: AsyncConnection) -> None:
    """Add verdicts, the queue, the audit and the index of answers, which is built at the first read."""
    await connection.run_sync(add_tables_and_columns)
    for table in REVIEW_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(add_indexes, {str(index.name) for table in REVIEW_TABLES for index in table.indexes})
    await connection.execute(insert(review_pending).from_select(["threadId"], select(threads.c.id)))


@migration()
async def record_logins(connection: AsyncConnection) -> None:
    """Add the table of logins, so that a user can end each of them."""
    await connection.run_sync(add_tables_and_columns)


@migration()
async def keep_judged_answers(connection: AsyncConnection) -> None:
    """Add to removed answers the id of the run that their vote was cast on."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"step_versions_of_step"})


@migration(locks="writers of users, until each user has the key")
async def compare_names_without_case(connection: AsyncConnection) -> None:
    """Add the names as they are compared. Users whose names differ only in case stay, and are logged."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"one_user_per_name"})
    await fill_user_names(connection)


@migration()
async def mark_deleted_threads(connection: AsyncConnection) -> None:
    """Add the marks of deleted threads, with the triggers that write and heed them."""
    await connection.run_sync(deleted_threads.create, checkfirst=True)


@migration(locks="the search index alone, until its marks have their owner")
async def find_marks_by_owner(connection: AsyncConnection) -> None:
    """Add to the marks of the search the owner of their thread, whose search indexes them first."""
    await connection.run_sync(add_tables_and_columns)
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql("ALTER INDEX search_texts_words SET (fastupdate = on)")
    else:
        await lists.remake_triggers(connection, search_triggers.TRIGGERS_ON_SQLITE)
    owner = select(threads.c.userId).where(threads.c.id == search_pending.c.threadId).scalar_subquery()
    await connection.execute(update(search_pending).where(search_pending.c.userId.is_(None)).values(userId=owner))
    await connection.run_sync(add_indexes, {"search_pending_of_user"})


@migration()
async def index_speech_alone(connection: AsyncConnection) -> None:
    """Mark the answers in the search index that may hold thought: their words are indexed again, without it."""
    is_indexed = exists(select(search_texts.c.id).where(search_texts.c.stepId == steps.c.id))
    found = select(steps.c.threadId, steps.c.id, threads.c.userId).join_from(steps, threads)
    found = found.where(is_indexed, steps.c.type == ANSWER, may_hold_thought(steps.c.output))
    await connection.execute(insert(search_pending).from_select(["threadId", "stepId", "userId"], found))


@migration()
async def keep_jobs(connection: AsyncConnection) -> None:
    """Add the tables of jobs."""
    tables = (jobs, job_replicas, job_elections)
    for table in tables:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(add_indexes, {str(index.name) for table in tables for index in table.indexes})


@migration()
async def keep_assistants(connection: AsyncConnection) -> None:
    """Add assistants and their versions, and the version that answered to model calls and to the index of answers."""
    await connection.run_sync(add_tables_and_columns)
    of_assistants = {str(index.name) for table in ASSISTANT_TABLES for index in table.indexes}
    await connection.run_sync(add_indexes, {"review_answers_of_version"} | of_assistants)


@migration()
async def know_documents(connection: AsyncConnection) -> None:
    """Add the data sources, trainings, documents and passages of assistants."""
    for table in KNOWLEDGE_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    names = {str(index.name) for table in KNOWLEDGE_TABLES for index in table.indexes}
    await connection.run_sync(add_indexes, names)


@migration()
async def fetch_sources(connection: AsyncConnection) -> None:
    """Add when a data source with an address was fetched, and what became of it in each training."""
    await connection.run_sync(add_tables_and_columns)


@migration()
async def suggest_questions(connection: AsyncConnection) -> None:
    """Add to trainings the questions that their documents answer. Trainings of before have none."""
    await connection.run_sync(add_tables_and_columns)


@migration(locks="everyone who uses steps, for milliseconds (ACCESS EXCLUSIVE)")
async def mark_new_steps_once(connection: AsyncConnection) -> None:
    """On Postgres, mark a new step with one trigger in place of two, and look up a new thread's deletion once."""
    if connection.dialect.name == "postgresql":
        await mark_steps_once(connection)
        await connection.exec_driver_sql(deletion_triggers.SKIP_ON_POSTGRESQL)


@migration()
async def mark_calls_in_progress(connection: AsyncConnection) -> None:
    """Add the index of calls that have not ended, and whether a provider gets the caller's own key."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"llm_calls_in_progress"})


@migration()
async def keep_api_keys(connection: AsyncConnection) -> None:
    """Add API keys and their rates, and the key to model calls and to reservations."""
    await connection.run_sync(add_tables_and_columns)
    of_keys = {str(index.name) for table in KEY_TABLES for index in table.indexes}
    await connection.run_sync(add_indexes, {"llm_calls_of_key"} | of_keys)


@migration()
async def name_failures_of_trainings(connection: AsyncConnection) -> None:
    """Add the kind and the values of the failure to trainings. Those of before keep their English sentence."""
    await connection.run_sync(add_tables_and_columns)


@migration()
async def keep_first_answers(connection: AsyncConnection) -> None:
    """Add the first answers to requests of programs, for their repetitions."""
    await connection.run_sync(api_replies.create, checkfirst=True)
    await connection.run_sync(add_indexes, {"api_replies_of_thread"})


@migration()
async def claim_turns(connection: AsyncConnection) -> None:
    """Add the claims of threads for turns, and the index by which old first answers are found."""
    await connection.run_sync(turn_claims.create, checkfirst=True)
    await connection.run_sync(add_indexes, {"api_replies_by_time"})


@migration()
async def note_phases(connection: AsyncConnection) -> None:
    """Note the phase of each migration, so that the version before accepts those that only add."""
    await connection.run_sync(add_tables_and_columns)


@migration()
async def invite_users(connection: AsyncConnection) -> None:
    """Add the invitations of users to set their password."""
    await connection.run_sync(invitations.create, checkfirst=True)


@migration()
async def organize_threads(connection: AsyncConnection) -> None:
    """Add when a thread was pinned or archived, and when it expires."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"pinned_threads", "archived_threads", "temporary_threads"})


@migration()
async def keep_prompts(connection: AsyncConnection) -> None:
    """Add the prompts of users."""
    await connection.run_sync(prompts.create, checkfirst=True)
    await connection.run_sync(add_indexes, {"shared_prompts"})


@migration(locks="everyone who uses steps, for milliseconds (ACCESS EXCLUSIVE)")
async def mark_changed_steps_once(connection: AsyncConnection) -> None:
    """On Postgres, look at a changed step with one trigger in place of three, and with none that has a WHEN."""
    if connection.dialect.name == "postgresql":
        await mark_steps_once(connection)


@migration(locks="everyone who uses threads, for milliseconds (ACCESS EXCLUSIVE)")
async def mark_changed_threads_once(connection: AsyncConnection) -> None:
    """On Postgres, look at a changed thread with one trigger in place of two, and with none that has a WHEN."""
    if connection.dialect.name == "postgresql":
        await mark_threads_once(connection)


@migration()
async def choose_chat_models(connection: AsyncConnection) -> None:
    """Add the tables of what admins decide about the models of the chat."""
    for table in CHAT_MODEL_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(add_indexes, {"chat_models_of_user"})


@migration()
async def remember_facts(connection: AsyncConnection) -> None:
    """Add the table of what the installation remembers."""
    await connection.run_sync(installation_facts.create, checkfirst=True)


@migration()
async def list_threads_beside_the_archive(connection: AsyncConnection) -> None:
    """Add the indexes of threads that are neither archived nor temporary, so that a list does not read the archive."""
    names = "archived_threads", "temporary_threads", "listed_threads", "tagged_threads", "pinned_threads"
    await lists.add_indexes_in_order(connection, names)


@migration(beside=key_one_table, locks="nobody (CONCURRENTLY)")
async def key_payloads_with_their_time(connection: AsyncConnection) -> None:
    """On Postgres, add the unique index by which payloads are stored in partitions and in the one table of before."""
    if connection.dialect.name == "postgresql":
        await key_one_table(connection, beside=False)


@migration()
async def stop_turns(connection: AsyncConnection) -> None:
    """Add the column by which a turn of another process is asked to stop."""
    await connection.run_sync(add_tables_and_columns)


@migration(locks="writers of threads and feedbacks, for milliseconds (SHARE ROW EXCLUSIVE)")
async def follow_votes_and_tags(connection: AsyncConnection) -> None:
    """Add to threads whether their owner gave a thumb, and the counts of tags, so that a list reads what it shows."""
    await lists.follow_votes_and_tags(connection)


@migration(beside=lists.note_votes_in_parts, locks="writers of threads with a vote, a hundred threads at a time")
async def note_older_votes_and_tags(connection: AsyncConnection) -> None:
    """Note in older threads whether their owner gave a thumb, and count their tags."""
    await lists.note_votes(connection)
    await lists.count_folders(connection)


@migration()
async def find_calls_by_time(connection: AsyncConnection) -> None:
    """Add the index of calls by their time alone, by which the usage of a month reads the calls of this month."""
    await connection.run_sync(add_indexes, {"llm_calls_by_time"})


@migration(phase="after", locks="writers of users that an older version made, until each has the key")
async def complete_rows_of_older_versions(connection: AsyncConnection) -> None:
    """Give users their names without case that an older version made while both versions ran."""
    await fill_user_names(connection)


@migration(
    phase="after",
    beside=bound_one_table,
    locks="writers of llm_calls, and everyone who uses llm_call_payloads (ACCESS EXCLUSIVE), for milliseconds",
)
async def partition_payloads(connection: AsyncConnection) -> None:
    """On Postgres, make the one table of payloads the first of the partitions by month."""
    if connection.dialect.name == "postgresql":
        await attach_one_table(connection)


@migration(phase="after", beside=lists.drop_index_of_time_and_id, locks="nobody (CONCURRENTLY)")
async def drop_index_of_calls_in_order(connection: AsyncConnection) -> None:
    """Drop the index of calls by time and id, which no statement needs any more."""
    await connection.exec_driver_sql("DROP INDEX IF EXISTS llm_calls_in_order")
