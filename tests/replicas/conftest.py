"""A database for replicas."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Databases, print_log


@pytest.fixture
def new_url(postgres: Databases) -> Iterator[str]:
    """A database without tables. At the end, what the server has logged meanwhile is printed."""
    begin = postgres.log.stat().st_size if postgres.log else 0
    url = postgres.create()
    yield url
    postgres.drop(url)
    if postgres.log:
        print_log("Postgres since the test began", postgres.log, begin)
