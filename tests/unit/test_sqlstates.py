"""What each SQLSTATE, and each error of a driver without one, means: only faults of the storage make writes wait."""

import sqlite3
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from datalayer import (
    ConnectionLost,
    DataLayerError,
    InvalidRecord,
    SchemaError,
    StatementRefused,
    StorageUnavailable,
    TimedOut,
)
from datalayer.dialects.driver_errors import ASYNCPG, SQLITE, SQLITE3
from datalayer.dialects.postgresql import PostgreSQL
from datalayer.dialects.postgresql_connector import Connector
from datalayer.dialects.sqlite import SQLite
from datalayer.dialects.sqlstates import CLASSES, CODES, Meaning, meaning_of

# "Appendix A. PostgreSQL Error Codes", Postgres 17.
APPENDIX_A = """
    00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58
    72 F0 HV P0 XX
""".split()  # noqa: SIM905
RAISED: dict[Meaning, type[DataLayerError]] = {
    Meaning.RECORD: InvalidRecord,
    Meaning.SCHEMA: SchemaError,
    Meaning.CONNECTION: ConnectionLost,
    Meaning.SLOW: TimedOut,
    Meaning.PASSING: StorageUnavailable,
    Meaning.SETTINGS: StorageUnavailable,
    Meaning.DEFECT: StatementRefused,
}
KNOWN = {
    str(kind.__dict__.get("sqlstate")): kind
    for kind in vars(asyncpg.exceptions).values()
    if isinstance(kind, type) and issubclass(kind, asyncpg.PostgresError) and "sqlstate" in kind.__dict__
}


def raised(error: BaseException) -> DataLayerError | None:
    return PostgreSQL().translate(error)


def test_the_table_has_every_class_of_the_manual() -> None:
    assert sorted(CLASSES) == sorted(APPENDIX_A)
    assert {state[:2] for state in CODES} <= set(CLASSES)
    assert set(CODES) <= set(KNOWN)


def test_only_two_classes_are_faults_of_a_record() -> None:
    assert {state[:2] for state in KNOWN if meaning_of(state) is Meaning.RECORD} == {"22", "23"}


@pytest.mark.parametrize("state", sorted(set(KNOWN) - {"0A000"}))
def test_each_code_becomes_the_error_of_its_meaning(state: str) -> None:
    error = KNOWN[state]("of the server: hunter2")
    for one in (error, DBAPIError.instance("SELECT hunter2", None, error, asyncpg.PostgresError)):
        ours = raised(one)
        assert type(ours) is RAISED[meaning_of(state)]
        assert "hunter2" not in str(ours) or state.startswith("08")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.InvalidSQLStatementNameError("x"), ConnectionLost),
        (asyncpg.DuplicatePreparedStatementError("x"), ConnectionLost),
        (asyncpg.ProtocolViolationError("x"), ConnectionLost),
        (asyncpg.ReadOnlySQLTransactionError("x"), ConnectionLost),
        (asyncpg.InvalidCachedStatementError("x"), ConnectionLost),
        (asyncpg.FeatureNotSupportedError("x"), StatementRefused),
        (asyncpg.InsufficientPrivilegeError("x"), StorageUnavailable),
        (asyncpg.DeadlockDetectedError("x"), StorageUnavailable),
        (asyncpg.UndefinedFunctionError("x"), StatementRefused),
        (asyncpg.ProgramLimitExceededError("x"), StatementRefused),
        (asyncpg.NotNullViolationError("x"), InvalidRecord),
    ],
)
def test_important_refusals(error: asyncpg.PostgresError, kind: type[DataLayerError]) -> None:
    assert type(raised(error)) is kind


def test_an_unknown_class_waits() -> None:
    assert meaning_of("ZZ999") is Meaning.PASSING


def test_a_refusal_by_a_pooler_is_told() -> None:
    error = asyncpg.ProtocolViolationError("no such user: chat\nand more")
    assert "the server says: no such user: chat" in str(raised(error))


@pytest.mark.parametrize("state", ["26000", "42P05", "34000", "42P03"])
def test_a_lost_statement_ends_named_statements(state: str) -> None:
    connector = Connector("postgresql://db/x?pooler=none")
    connector.learn(asyncpg.UndefinedTableError("x"))
    assert not connector.is_pooled
    connector.learn(KNOWN[state]("x"))
    assert connector.is_pooled


def of_asyncpg(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """The subclasses that asyncpg defines and a caller can get."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("asyncpg") and not one.__name__.startswith("_"):
            yield one
        yield from of_asyncpg(one)


OWN = {kind for kind in of_asyncpg(Exception) if not issubclass(kind, asyncpg.PostgresError | Warning)}
# Of asyncpg's test helper, which starts a server.
NOT_RAISED = {"ClusterError"}


def test_each_class_of_asyncpg_has_a_meaning() -> None:
    """A new class of asyncpg's has no meaning yet, and so fails here."""
    assert {kind.__name__ for kind in OWN} - NOT_RAISED == set(ASYNCPG)
    # Those of the server have a SQLSTATE, or are a base class, which passes.
    bases = {kind for kind in of_asyncpg(asyncpg.PostgresError) if getattr(kind, "sqlstate", None) is None}
    assert {kind.__name__ for kind in bases} <= {"FatalPostgresError", "UnknownPostgresError"}
    for base in (*bases, asyncpg.PostgresError):
        assert type(raised(base("hunter2"))) is StorageUnavailable


@pytest.mark.parametrize("kind", sorted(OWN, key=str))
def test_each_class_of_asyncpg_becomes_the_error_of_its_meaning(kind: type[Exception]) -> None:
    wrapped = DBAPIError.instance("SELECT hunter2", None, Exception("hunter2"), Exception)
    assert isinstance(wrapped, DBAPIError)
    assert wrapped.orig is not None
    error = wrapped.orig.__cause__ = kind("of the driver: hunter2")
    for one in (error, wrapped):
        ours = raised(one)
        assert type(ours) is RAISED[ASYNCPG[kind.__name__]]
        assert "hunter2" not in str(ours)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the number of query arguments cannot exceed 32767", StatementRefused),
        ("the server expects 2 arguments for this query, 1 was passed", StatementRefused),
        ("connection is closed", ConnectionLost),
        ("cannot perform operation: connection is closed", ConnectionLost),
        ("cannot perform operation: another operation is in progress", StorageUnavailable),
        ("cannot perform operation: another operation is cancelling", StorageUnavailable),
    ],
)
def test_only_a_fault_of_the_connection_makes_writes_wait(text: str, expected: type[DataLayerError]) -> None:
    assert type(raised(asyncpg.InterfaceError(text))) is expected


def test_a_connection_fault_of_the_system_is_away() -> None:
    faults: list[tuple[OSError, type[DataLayerError]]] = [
        (ConnectionResetError("x"), ConnectionLost),
        (ConnectionRefusedError("x"), ConnectionLost),
        (TimeoutError("x"), TimedOut),
        (PermissionError("x"), StorageUnavailable),
    ]
    for error, expected in faults:
        assert type(raised(error)) is expected
    for mistake in (TypeError("x"), ValueError("x"), KeyError("x"), AssertionError("x")):
        assert raised(mistake) is None


# "Result and Error Codes" of SQLite, without OK, ROW, DONE, NOTICE and WARNING.
RESULT_CODES = """
    ABORT AUTH BUSY CANTOPEN CONSTRAINT CORRUPT EMPTY ERROR FORMAT FULL INTERNAL INTERRUPT IOERR LOCKED MISMATCH MISUSE
    NOLFS NOMEM NOTADB NOTFOUND PERM PROTOCOL RANGE READONLY SCHEMA TOOBIG
""".split()  # noqa: SIM905
CLASSES_OF_SQLITE3 = {
    name: kind for name, kind in vars(sqlite3).items() if isinstance(kind, type) and issubclass(kind, Exception)
}


@pytest.mark.parametrize("name", sorted(CLASSES_OF_SQLITE3))
def test_each_class_of_sqlite3_becomes_the_error_of_its_meaning(name: str) -> None:
    """A new class of the module has no meaning yet, and so fails here."""
    error = CLASSES_OF_SQLITE3[name]("hunter2")
    wrapped = DBAPIError.instance("SELECT hunter2", None, error, sqlite3.Error)
    for one in (error, wrapped) if isinstance(error, sqlite3.Error) else (error,):
        ours = SQLite().translate(one)
        assert type(ours) is RAISED[SQLITE3[name]]
        assert "hunter2" not in str(ours)
    assert set(SQLITE3) == set(CLASSES_OF_SQLITE3)


def test_each_result_code_of_sqlite_becomes_the_error_of_its_meaning() -> None:
    assert set(SQLITE) == {f"SQLITE_{code}" for code in RESULT_CODES}
    # The constants of the extended codes have the names that errors have.
    extended = {name for name in dir(sqlite3) if any(name.startswith(f"SQLITE_{code}_") for code in RESULT_CODES)}
    assert {"SQLITE_IOERR_WRITE", "SQLITE_CONSTRAINT_UNIQUE"} <= extended
    for name in (*SQLITE, *extended):
        error = sqlite3.OperationalError("hunter2")
        error.sqlite_errorname = name
        expected = next(meaning for code, meaning in SQLITE.items() if name == code or name.startswith(f"{code}_"))
        assert type(SQLite().translate(error)) is RAISED[expected], name


def test_errors_that_sqlite_really_raises() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    statements: list[tuple[str, tuple[object, ...], type[DataLayerError]]] = [
        ("SELEC", (), StatementRefused),
        ("SELECT nothing(1)", (), StatementRefused),
        ("SELECT ?", (), StatementRefused),
        ("SELECT 1; SELECT 2", (), StatementRefused),
        ("ROLLBACK", (), StatementRefused),
        (f"SELECT {'?,' * 40_000}1", (1,) * 40_000, StatementRefused),
        ("SELECT * FROM two", (), SchemaError),
        ("SELECT colour FROM one", (), SchemaError),
        ("INSERT INTO one (id) VALUES (1)", (), InvalidRecord),
        ("INSERT INTO one VALUES ('x', 'y')", (), InvalidRecord),
        ("SELECT zeroblob(2000000000)", (), InvalidRecord),
        ("SELECT ?", (object(),), InvalidRecord),
    ]
    for sql, values, expected in statements:
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(sql, values).fetchall()
        assert type(SQLite().translate(caught.value)) is expected, sql
    connection.close()
    with pytest.raises(sqlite3.Error) as caught:
        connection.execute("SELECT 1")
    assert type(SQLite().translate(caught.value)) is ConnectionLost
