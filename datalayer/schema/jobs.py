"""The tables of jobs, of the processes that run them, and of the tasks that only one process has.

`seenAt`, `until` and `notBefore` are seconds since 1970 by the clock of the database, so that clocks of replicas that
differ do not matter. Other times are texts, for people.
"""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, false, text

from datalayer.schema.chat import Identifier, Json, metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("kind", Text, nullable=False),
    # The format of the arguments and steps. A job is run by the code of its own format only.
    Column("format", Integer, nullable=False),
    Column("key", Text),
    Column("ownerId", Identifier, ForeignKey("users.id", ondelete="CASCADE")),
    Column("arguments", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("total", Integer),
    Column("text", Text),
    Column("result", Json),
    Column("error", Text),
    # The file that the job made; it is deleted with the job.
    Column("objectKey", Text),
    # Counts the claims of the job. A process that has lost the job has an older number, and can change nothing.
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("interruptions", Integer, nullable=False, server_default=text("0")),
    Column("isCancelling", Boolean, nullable=False, server_default=false()),
    Column("replicaId", Identifier),
    Column("notBefore", Float),
    Column("createdAt", Text, nullable=False),
    Column("startedAt", Text),
    Column("endedAt", Text),
    Column("updatedAt", Text, nullable=False),
)
IS_UNFINISHED = jobs.c.state.in_(["waiting", "running"])
_UNFINISHED_IN_DDL = text("state IN ('waiting', 'running')")
Index(
    "one_unfinished_job_of_a_key",
    jobs.c.kind,
    jobs.c.key,
    unique=True,
    postgresql_where=_UNFINISHED_IN_DDL,
    sqlite_where=_UNFINISHED_IN_DDL,
)
Index(
    "unfinished_jobs",
    jobs.c.createdAt,
    postgresql_where=_UNFINISHED_IN_DDL,
    sqlite_where=_UNFINISHED_IN_DDL,
)
Index("jobs_by_time", jobs.c.createdAt, jobs.c.id)
Index("jobs_of_kind", jobs.c.kind, jobs.c.createdAt)
Index("jobs_of_owner", jobs.c.ownerId, jobs.c.createdAt)

# A process has a row while it runs jobs.
job_replicas = Table(
    "job_replicas",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("name", Text, nullable=False),
    Column("seenAt", Float, nullable=False),
)

# The process that has a task until its time is over: who takes over jobs, and who opens the store of steps.
job_elections = Table(
    "job_elections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("replicaId", Identifier, nullable=False),
    Column("until", Float, nullable=False),
)
