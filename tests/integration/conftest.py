"""A Postgres server that a test can stop."""

from collections.abc import Iterator

import pytest

from tests.support import missing
from tests.support.postgres import Cluster, Databases, find_binaries


@pytest.fixture(scope="session")
def stoppable_postgres() -> Iterator[Cluster]:
    """A new durable server, because the server in TEST_DATABASE_URL can have other users."""
    binaries = find_binaries()
    if binaries is None:
        missing.skip_or_fail(
            "POSTGRES: no server's binaries found, so the faults of Postgres were not tried; "
            "install the package postgresql"
        )
    with Cluster(binaries, durable=True) as cluster:
        yield cluster


@pytest.fixture
def stoppable_url(stoppable_postgres: Cluster) -> str:
    """An empty database on that server."""
    databases = Databases(stoppable_postgres.url)
    url = databases.create()
    databases.close()
    return url
