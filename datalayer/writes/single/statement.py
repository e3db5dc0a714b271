"""A write as one statement, and what its rows mean."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable

from datalayer.database import Run
from datalayer.dialects.lone import UNDECIDED


@dataclass(frozen=True, slots=True)
class SingleWrite:
    """A statement that checks the owner and stores the write, or changes nothing."""

    statement: Executable
    """Kept and used again for every write of its kind."""
    values: Mapping[str, Any]
    """The values of its parameters."""
    result: Callable[[Sequence[Any]], Any]
    """The result of the write from the rows; UNDECIDED if `otherwise` has to find it.

    Raises:
        DataLayerError: the write is refused.
    """
    otherwise: Callable[[Run], Awaitable[Any]] | None = None
    """Finds the result if the rows do not tell it. Raises as `result`."""
    thread_id: str | None = None
    """A thread that exists if the statement gives rows."""

    async def apply(self, run: Run) -> Any:
        """Run the statement; gives the result of the write."""
        result = self.result(await run(self.statement, self.values))
        return result if result is not UNDECIDED or self.otherwise is None else await self.otherwise(run)
