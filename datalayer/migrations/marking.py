"""On Postgres, one trigger in place of several marks what changed, for the search and the review."""

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.schema import review_triggers, search_triggers

_OLDER_TRIGGERS_OF_STEPS = (
    *("search_step_made", "search_step_changed"),
    *("review_answer_made", "review_answer_changed", "review_question_edited"),
)


async def mark_steps_once(connection: AsyncConnection) -> None:
    """Replace the older triggers of steps and their functions."""
    for trigger in _OLDER_TRIGGERS_OF_STEPS:
        await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON steps")
    for function in ("mark_step_for_search", "keep_step_version"):
        await connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {function}()")
    for statement in review_triggers.STEPS_ON_POSTGRESQL:
        await connection.exec_driver_sql(statement)


async def mark_threads_once(connection: AsyncConnection) -> None:
    """Replace the older triggers of threads and their functions."""
    for trigger in ("search_thread_changed", "review_thread_changed"):
        await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON threads")
    for statement in (*search_triggers.MADE_ON_POSTGRESQL, *review_triggers.THREADS_ON_POSTGRESQL):
        await connection.exec_driver_sql(statement)
    for function in ("mark_thread_for_search", "mark_thread_for_review"):
        await connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {function}()")
