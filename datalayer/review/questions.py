"""The question before an answer, as a subquery for lists of answers."""

from typing import Any

from sqlalchemy import FromClause, Integer, ScalarSelect, Text, func, literal_column, select

from datalayer.history.removed_answers import QUESTION
from datalayer.schema.chat import steps


def question_before(answer: FromClause, *, characters: int | None = None) -> ScalarSelect[Any]:
    """The text of the latest question at or before an answer in its thread; NULL if there is none.

    The index `steps_in_order` serves it, from the answer backwards.

    Args:
        answer: the table or subquery of answers, with the columns `threadId` and `createdAt`.
        characters: how many of the text, from its beginning; all of it by default.
    """
    asked = steps.alias("asked")
    # Constants in the text: the inbox keeps its statement and runs it again with parameters of its own.
    return (
        select(asked.c.output if characters is None else func.substr(asked.c.output, 1, characters))
        .where(
            asked.c.threadId == answer.c.threadId,
            asked.c.createdAt <= answer.c.createdAt,
            asked.c.type == literal_column(f"'{QUESTION}'", Text),
        )
        .order_by(asked.c.createdAt.desc(), asked.c.id.desc())
        .limit(literal_column("1", Integer))
        .scalar_subquery()
    )
