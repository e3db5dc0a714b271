"""What a kind of job is, and what its function gets. This is the whole interface for the authors of jobs.

    async def train(context: JobContext) -> dict[str, Any]:
        documents = await context.step("list", list_documents, context.arguments["training"])
        for number, document in enumerate(documents):
            await context.step(f"embed {document}", embed, document)
            await context.progress(number + 1, len(documents), document)
        return {"documents": len(documents)}

    layer.register_job("training", train, format=1)
    await layer.start_job("training", {"training": training_id}, key=training_id)

A function must be safe to run again from its beginning, and each step must be safe to run again: the step that a dead
process was in is repeated. There are two ways to get there, and a function may mix them:

- The state is in the database: the function looks up what is done already and skips it. It needs no steps.
- `context.step`: its result is stored when the step has ended, and returned without a call when the job is repeated.

The function runs in the event loop that runs the jobs, as its owner: what the data layer checks, it checks for the user
who started the job. Work that uses the CPU belongs into a thread or a process. The steps of a job must come in the same
order, with the same names, each time. Who changes that, or the arguments, registers the new function under the next
`format`, and keeps the old one for the jobs that have begun, as long as there may be some.

A function that raises `JobFailed` tells its owner why, in words. Any other error ends the job as failed too; its words
reach the owner only if it is an error of the data layer. A job that raises `JobLater` is begun again after that time,
and one whose database was away after a while; both five times at most.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from datalayer.records.jobs import Job

T = TypeVar("T")


class JobContext(Protocol):
    """What the function of a kind gets."""

    @property
    def job_id(self) -> str:
        """The id of the job."""

    @property
    def owner(self) -> str | None:
        """The identifier of the user who started the job; None for the system."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What `start_job` was given: JSON."""

    @property
    def attempt(self) -> int:
        """How often the job was begun, this time included."""

    @property
    def interruptions(self) -> int:
        """How often the job was begun in vain: its process died, its database was away, or it raised `JobLater`."""

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the job. It is a few seconds old at most.

        `step` and `progress` raise asyncio.CancelledError then. A function that calls neither for long should look here
        and return; what it returns is dropped. After ten seconds it is cancelled where it waits.
        """

    async def progress(self, done: int, total: int | None = None, text: str | None = None) -> None:
        """Show how far the job is. Calls that follow each other within a second are stored together."""

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """The result of `await function(*args)`, or of an earlier run of this step of this job.

        Args:
            name: the same each time that the job is run.
            function: returns JSON; other values become text, tuples become lists. No content of users, because a result
                is stored until the job is done.

        Raises:
            JobFailed: the job was begun with other steps, or in another order.
            Exception: what the function raised. That is not stored: when the job is run again, so is the step.
        """

    async def keep_file(self, object_key: str, seconds: float) -> None:
        """Note the key of a file that the job is about to store. It is deleted after so many seconds, whatever becomes
        of the job, or before together with the job or its owner. A job has one file."""


JobFunction = Callable[[JobContext], Awaitable[Any]]
"""The function of a kind. What it returns is JSON, and becomes the job's result."""


JobEnding = Callable[[Job], Awaitable[None]]
"""Called with a job that has ended without its function, as its owner: it was cancelled while it waited, or when it was
to wait again, or has failed because it was interrupted too often."""


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """A kind that is started by itself, by one replica: `every_seconds` after its last start, or `first_after_seconds`
    after the start of the process if that is later or if it never ran."""

    every_seconds: float
    first_after_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A registered kind of job, in one format.

    Attributes:
        at_once: how many of the kind a process runs at the same time.
        on_ending: what follows a job that ended without its function.
    """

    name: str
    format: int
    work: JobFunction
    at_once: int = 1
    schedule: JobSchedule | None = None
    on_ending: JobEnding | None = None
