"""One cache of compiled statements for all engines of a process.

Every test has its own engine, and SQLAlchemy compiles each statement again for each engine. That takes a sixth of the
CPU time of the tests of the data layer. A statement compiles to the same SQL for two dialect objects of the same class,
server version and JSON functions, so here these take the place of the dialect object in the key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.util import LRUCache

_MODULES = ("datalayer.dialects.sqlite", "datalayer.dialects.postgresql")
_MOST_STATEMENTS = 2_000


class _SharedCache(LRUCache[Any, Any]):
    """SQLAlchemy's keys begin with the dialect object."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_shared(key), value)


def _shared(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *statement = key
    functions = (getattr(dialect, "_json_serializer", None), getattr(dialect, "_json_deserializer", None))
    return (type(dialect), dialect.server_version_info, *functions, *statement)


@contextmanager
def shared_compiled_statements() -> Iterator[None]:
    """Within the block, new engines of the data layer use one cache."""
    cache = _SharedCache(_MOST_STATEMENTS)

    def create(url: str, **options: Any) -> Any:
        shared = {"compiled_cache": cache, **options.pop("execution_options", {})}
        return sqlalchemy_asyncio.create_async_engine(url, execution_options=shared, **options)

    with pytest.MonkeyPatch.context() as patch:
        for module in _MODULES:
            patch.setattr(f"{module}.create_async_engine", create)
        yield
