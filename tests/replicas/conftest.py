"""A database for replicas."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Databases


@pytest.fixture
def new_url(postgres: Databases) -> Iterator[str]:
    """A database without tables."""
    url = postgres.create()
    yield url
    postgres.drop(url)
