"""A primary of Postgres and its standby: streaming replication as in production, from the binaries of the tests."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from tests.support import missing
from tests.support.postgres import Cluster, find_binaries, print_log

# A commit is acknowledged when it is in the log; with the second setting, when the standby has written it, so that its
# promotion loses none.
_ACKNOWLEDGED = {"synchronous_commit": "on"}
_BY_STANDBY = {"synchronous_standby_names": "*"}


class Standby(Cluster):
    """A hot standby that follows a primary, until it is promoted or the `with` block ends."""

    def __init__(self, primary: Cluster, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(primary.binaries, settings=settings)
        self._primary = primary
        self.password = primary.password

    def promote(self) -> None:
        """Make it a primary; returns when it accepts writes."""
        self._run("pg_ctl", "promote", f"--pgdata={self.directory / 'data'}", "--wait")

    def _make(self) -> None:
        self._run(
            "pg_basebackup",
            f"--dbname={self._primary.url}",
            f"--pgdata={self.directory / 'data'}",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its standby."""

    primary: Cluster
    standby: Standby

    def url_of_both(self, url: str, parameters: str) -> str:
        """The URL of the same database, which names both servers."""
        ours, theirs = (urlsplit(one.url).netloc.rpartition("@")[2] for one in (self.primary, self.standby))
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{ours},{theirs}", query=parameters).geturl()

    def on_standby(self, url: str) -> str:
        """The URL of the same database on the standby."""
        return urlsplit(self.standby.url)._replace(path=urlsplit(url).path).geturl()


@contextmanager
def primary_and_standby(*, synchronous: bool) -> Iterator[Pair]:
    """Both servers, running. Without Postgres's binaries, the test is skipped, or fails if CI is set.

    Args:
        synchronous: whether commits wait for the standby.
    """
    binaries = find_binaries()
    if binaries is None:
        missing.skip_or_fail("POSTGRES: no server's binaries found, so failover was not tried; install postgresql")
    settings = _ACKNOWLEDGED | (_BY_STANDBY if synchronous else {})
    with ExitStack() as running:
        primary = running.enter_context(Cluster(binaries, settings=settings))
        running.callback(lambda: print_log("the primary", primary.log))
        standby = running.enter_context(Standby(primary))
        running.callback(lambda: print_log("the standby", standby.log))
        yield Pair(primary, standby)


async def is_followed(primary_url: str) -> bool:
    """Whether a standby streams from this primary."""
    connection = await asyncpg.connect(primary_url)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"))
    finally:
        await connection.close()
