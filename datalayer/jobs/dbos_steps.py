"""The only module that imports DBOS: a workflow for each job, whose steps run in the event loop of the data layer.

DBOS keeps the results of steps; claims, take-over, ends and progress are those of `datalayer.jobs` (ADR 0030). A job is
a workflow with the job's id, in a thread of DBOS, that waits for steps. The function of a step runs in our event loop.

An error of a step, a cancelled job and a stopping process leave the workflow pending, as a dead process does, because
what DBOS stores as an error it would repeat for ever. When its job is done, a workflow is deleted.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import json
import logging
import queue
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from datalayer.database import Database
from datalayer.errors import ConfigurationError, DataLayerError, JobFailed, StorageUnavailable

logger = logging.getLogger(__name__)
dbos_logger = logging.getLogger("dbos")

SCHEMA = "threadkeeper_jobs"
"""The schema of DBOS on Postgres, apart from another program's in the same database."""

_VERSION = "1"
"""The same for all formats of jobs: a job is run by the function of its own format, which `datalayer.jobs` sees to."""
_POLL_SECONDS = 0.5
_BEGIN_SECONDS = 30.0
_MAY_NOT = "42501"


class _LeftError(BaseException):
    """Ends a workflow or a step as if the process had died. DBOS stores errors that are an Exception."""


class _JsonSerializer(Serializer):
    """DBOS stores pickles by default, which whoever can write to the database could make into a program."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, ensure_ascii=False, default=str)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "json"


class _Call:
    """A step that a job has asked for, and its result for the job."""

    def __init__(self, name: str, work: Callable[[], Awaitable[str]], loop: asyncio.AbstractEventLoop) -> None:
        self.name, self._work, self._loop = name, work, loop
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[str] | None = None
        self.result: asyncio.Future[str] = loop.create_future()

    def run(self) -> bool:
        """Run the step in its workflow, in the thread of DBOS; gives whether further steps can follow."""
        try:
            self._settle(DBOS.run_step({"name": self.name}, self._in_loop), None)
        except _LeftError as left:
            self._settle(None, left.__cause__ or asyncio.CancelledError())
        except dbos_error.DBOSUnexpectedStepError as error:
            words = "it was begun with other steps: register the changed function under a new format"
            self._settle(None, JobFailed(f"the job cannot go on at its step {self.name!r}, because {words} ({error})"))
        except BaseException as error:  # noqa: BLE001  whatever it is, the job must hear of it
            self._settle(None, _ours(error))
            # The workflow belongs to another process, for example.
            return False
        return True

    def cancel(self) -> None:
        """The job does not wait any more."""
        if self._task is not None:
            self._task.cancel()

    def _in_loop(self) -> str:
        done: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._begin, done)
        try:
            return done.result()
        except BaseException as error:
            raise _LeftError from error

    def _begin(self, done: "concurrent.futures.Future[str]") -> None:
        if self.result.cancelled():
            done.set_exception(asyncio.CancelledError())
            return
        # In the context of the job, and so in the name of its owner.
        self._task = self._loop.create_task(_awaited(self._work), name=f"step {self.name}", context=self._context)
        self._task.add_done_callback(lambda task: _pass_on(task, done))

    def _settle(self, result: str | None, error: BaseException | None) -> None:
        def settle() -> None:
            if self.result.done():
                return
            if error is None:
                self.result.set_result(result or "null")
            else:
                self.result.set_exception(error)

        # The loop is closed when the process ends without waiting for its jobs.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)


async def _awaited(work: Callable[[], Awaitable[str]]) -> str:
    return await work()


def _pass_on(task: "asyncio.Task[str]", done: "concurrent.futures.Future[str]") -> None:
    if task.cancelled():
        done.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


class _Workflow:
    """The steps of one run of a job, which its workflow takes one by one."""

    def __init__(self, job_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self._job_id, self._loop = job_id, loop
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self.has_begun, self._has_left = threading.Event(), threading.Event()

    async def step(self, name: str, work: Callable[[], Awaitable[str]]) -> str:
        if self._has_left.is_set():
            raise StorageUnavailable("the steps of the job cannot be stored any more by this process")
        call = _Call(name, work, self._loop)
        self._calls.put(call)
        try:
            return await call.result
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def end(self, *, is_done: bool) -> None:
        await asyncio.to_thread(self._end, is_done)

    def _end(self, is_done: bool) -> None:
        self._calls.put(None)
        has_left = self._has_left.wait(_BEGIN_SECONDS)
        _workflows.pop(self._job_id, None)
        if is_done and has_left:
            with _translated():
                DBOS.delete_workflow(self._job_id)

    def serve(self) -> None:
        """Run the steps that the job asks for, in the thread of DBOS."""
        self.has_begun.set()
        try:
            while (call := self._calls.get()) is not None and call.run():
                pass
        finally:
            self._has_left.set()
        raise _LeftError


_workflows: dict[str, _Workflow] = {}


@DBOS.workflow(name="job", max_recovery_attempts=None)
def _serve(job_id: str) -> None:
    workflow = _workflows.get(job_id)
    if workflow is None:
        raise _LeftError
    workflow.serve()


class Engine:
    """DBOS, from the constructor to `close`; both block."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._engine = database.create_sync_engine()
        executor = str(uuid.uuid4())
        self._queue = f"replica {executor}"
        # Otherwise DBOS makes a handler of its own, which writes lines of its own format to the console.
        if not dbos_logger.handlers:
            dbos_logger.addHandler(logging.NullHandler())
        config: DBOSConfig = {
            "name": "threadkeeper-jobs",
            # Only looked at: the engine connects.
            "system_database_url": f"{self._engine.dialect.name}://localhost/jobs",
            "system_database_engine": self._engine,
            "dbos_system_schema": SCHEMA,
            "application_version": _VERSION,
            "executor_id": executor,
            # A pooler in transaction mode has no LISTEN.
            "use_listen_notify": False,
            "serializer": _JsonSerializer(),
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        try:
            with _translated():
                DBOS(config=config)
                DBOS.listen_queues([self._queue])
                DBOS.launch()
                DBOS.register_queue(self._queue, polling_interval_sec=_POLL_SECONDS)
        except BaseException:
            self._end()
            raise

    def begin(self, job_id: str) -> _Workflow:
        """The steps of a new run of this job.

        Raises:
            StorageUnavailable: the database cannot be used now.
        """
        workflow = _workflows[job_id] = _Workflow(job_id, self._loop)
        try:
            with _translated():
                if DBOS.get_workflow_status(job_id) is None:
                    with SetWorkflowID(job_id):
                        DBOS.start_workflow(_serve, job_id)
                else:
                    DBOS.resume_workflow(job_id, queue_name=self._queue)
            if not workflow.has_begun.wait(_BEGIN_SECONDS):
                raise StorageUnavailable("the steps of the job could not be read in time")
        except BaseException:
            _workflows.pop(job_id, None)
            raise
        return workflow

    def close(self) -> None:
        """End the threads and connections; takes up to a second, in which DBOS waits for its own pauses."""
        try:
            with _translated():
                DBOS.delete_queue(self._queue)
        except DataLayerError as error:
            logger.warning("the queue of this process stays in the tables of DBOS: %s", error)
        self._end()

    def _end(self) -> None:
        DBOS.destroy()
        self._engine.dispose()

    def known(self) -> list[str]:
        """The ids of the jobs whose steps are stored."""
        with _translated():
            return [found.workflow_id for found in DBOS.list_workflows(load_input=False, load_output=False)]

    def forget(self, job_ids: list[str]) -> None:
        """Delete the steps of these jobs."""
        with _translated():
            DBOS.delete_workflows(job_ids)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _ours(error) from error


def _ours(error: BaseException) -> BaseException:
    """The library's error for one of DBOS or its driver; without its words, which contain SQL."""
    if isinstance(error, DataLayerError):
        return error
    cause: object = error.__cause__ if isinstance(error, dbos_error.DBOSException) and error.__cause__ else error
    original = cause.orig if isinstance(cause, DBAPIError) else cause
    if getattr(original, "sqlstate", None) == _MAY_NOT:
        return ConfigurationError(
            f"jobs need the schema {SCHEMA} in the database, which this user may not create: as the owner of the "
            f"database, run CREATE SCHEMA {SCHEMA} AUTHORIZATION followed by the name of this user"
        )
    if isinstance(cause, SQLAlchemyError | OSError | dbos_error.DBOSBaseException):
        return StorageUnavailable(f"the steps of jobs cannot be stored now ({type(original).__name__})")
    return error
