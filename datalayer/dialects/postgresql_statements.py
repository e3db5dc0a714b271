"""Statements of SQLAlchemy for asyncpg: compiled once, with the conversions of their parameters and columns."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable, SelectBase, UpdateBase
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from datalayer.schema.chat import Identifier, Json

Conversion = Callable[[Any], Any]

_encode = json.JSONEncoder(ensure_ascii=False).encode


def to_json(value: Any) -> str:
    """The value as a parameter of a connection without codecs."""
    # A shortcut, because most metadata is empty.
    return "{}" if value == {} else _encode(value)


@dataclass(frozen=True, slots=True)
class Compiled:
    """The SQL of a statement, and its parameters in order: their names, and the values of those that are constants."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    json_at: tuple[int, ...]
    """The places of the parameters that are JSON."""
    conversions: tuple[tuple[int, Conversion], ...]
    """For some columns of the result, the conversion to the value that SQLAlchemy gives."""

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        given = {**self.constants, **values} if self.constants else values
        return [given[name] for name in self.names]

    def encoded(self, values: Mapping[str, Any]) -> list[Any]:
        """The arguments for a connection without codecs."""
        arguments = self.arguments(values)
        for at in self.json_at:
            if arguments[at] is not None:
                arguments[at] = to_json(arguments[at])
        return arguments

    def decoded(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows of a connection without codecs, as those of one with codecs."""
        if not self.conversions:
            return rows
        decoded = [list(row) for row in rows]
        for row in decoded:
            for at, convert in self.conversions:
                if row[at] is not None:
                    row[at] = convert(row[at])
        return [tuple(row) for row in decoded]


class CompiledStatements:
    """Compiles each statement at its first use; it is forgotten with the statement."""

    def __init__(self, compiled_for: Dialect) -> None:
        self._compiled_for = compiled_for
        self._statements: WeakKeyDictionary[Any, Compiled] = WeakKeyDictionary()

    def of(self, statement: Executable) -> Compiled:
        found = self._statements.get(statement)
        if found is None:
            found = self._statements[statement] = self._compile(statement)
        return found

    def _compile(self, statement: Executable) -> Compiled:
        compiled = statement.compile(dialect=self._compiled_for)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        names = tuple(compiled.positiontup or ())
        required = dict.fromkeys(name for name, one in compiled.binds.items() if one.required)
        constants = {name: value for name, value in compiled.construct_params(required).items() if name not in required}
        json_at = tuple(at for at, name in enumerate(names) if name in required and compiled.binds[name].type is Json)
        kinds = [_conversion(column.type) for column in _columns_of(statement)]
        conversions = tuple((at, convert) for at, convert in enumerate(kinds) if convert is not None)
        return Compiled(compiled.string, names, constants, json_at, conversions)


def _columns_of(statement: Executable) -> Sequence[Any]:
    """The columns of the rows that it gives; those of a text are not known."""
    return list(statement.exported_columns) if isinstance(statement, SelectBase | UpdateBase) else ()


def _conversion(kind: TypeEngine[Any]) -> Conversion | None:
    if kind is Identifier:
        return str
    return json.loads if kind is Json else None
