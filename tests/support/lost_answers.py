"""Answers of the database that are lost after the commit: the queue does each operation again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from datalayer.writes.queue import Writer


@contextmanager
def lost_answers() -> Iterator[None]:
    """Let every queue do each submitted operation twice."""
    submit = Writer.submit

    async def twice(writer: Writer, *work: Any) -> Any:
        await submit(writer, *work)
        return await submit(writer, *work)

    with patch.object(Writer, "submit", twice):
        yield
