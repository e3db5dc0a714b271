"""Statements are compiled once a process in place of once a test.

Every test has its own layer. SQLAlchemy compiles each statement again for each engine, and the hot paths of the layer
each statement again for each layer: for a small test that is half of its CPU time in Python. A statement compiles to
the same SQL for two dialect objects of the same class, server version and JSON functions, so here these take the place
of the dialect object.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.util import LRUCache

from datalayer.dialects import sqlite_connections
from datalayer.dialects.postgresql_statements import CompiledStatements

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
    return (*_kind(dialect), *statement)


def _kind(dialect: Any) -> tuple[Any, ...]:
    functions = (getattr(dialect, "_json_serializer", None), getattr(dialect, "_json_deserializer", None))
    return (type(dialect), dialect.server_version_info, *functions)


def _once(compile_for: Callable[[Any, Dialect], Any]) -> Callable[[Any, Dialect], Any]:
    """Compiles each statement once for each kind of dialect; it is forgotten with the statement, as in the layer."""
    known: WeakKeyDictionary[Any, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()

    def compiled(statement: Any, dialect: Dialect) -> Any:
        kinds, kind = known.setdefault(statement, {}), _kind(dialect)
        if kind not in kinds:
            kinds[kind] = compile_for(statement, dialect)
        return kinds[kind]

    return compiled


@contextmanager
def shared_compiled_statements() -> Iterator[None]:
    """Within the block, new engines and layers share what they compile."""
    cache = _SharedCache(_MOST_STATEMENTS)
    compile_for_postgres = CompiledStatements._compile
    on_postgres = _once(lambda statement, dialect: compile_for_postgres(CompiledStatements(dialect), statement))

    def create(url: str, **options: Any) -> Any:
        shared = {"compiled_cache": cache, **options.pop("execution_options", {})}
        return sqlalchemy_asyncio.create_async_engine(url, execution_options=shared, **options)

    with pytest.MonkeyPatch.context() as patch:
        for module in _MODULES:
            patch.setattr(f"{module}.create_async_engine", create)
        patch.setattr(CompiledStatements, "_compile", lambda self, one: on_postgres(one, self._compiled_for))
        patch.setattr(sqlite_connections, "_Statement", _once(sqlite_connections._Statement))
        yield
