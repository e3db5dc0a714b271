"""What each SQLSTATE means: only the classes 22 and 23 are faults of a record."""

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
from datalayer.dialects.postgresql import PostgreSQL
from datalayer.dialects.postgresql_connector import Connector
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
