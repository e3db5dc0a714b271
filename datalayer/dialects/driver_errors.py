"""What an error of a driver means that has no SQLSTATE: asyncpg's own classes, and the result codes of SQLite.

Only a fault of the connection or of the storage may make writes wait. A statement that the library has put together
wrongly fails again each time, so its caller is told at once.
"""

from datalayer.dialects.sqlstates import Meaning

ASYNCPG: dict[str, Meaning] = {
    "DataError": Meaning.RECORD,  # a value does not fit the type of its parameter
    "InterfaceError": Meaning.DEFECT,  # the driver is used wrongly: too many parameters, or too few
    "ClientConfigurationError": Meaning.SETTINGS,
    "UnsupportedClientFeatureError": Meaning.DEFECT,
    "UnsupportedServerFeatureError": Meaning.DEFECT,
    "InternalClientError": Meaning.CONNECTION,  # a connection ended in the middle of an answer
    "ProtocolError": Meaning.CONNECTION,
    "OutdatedSchemaCacheError": Meaning.CONNECTION,  # a type has changed; a new connection asks again
    "TargetServerAttributeNotMatched": Meaning.CONNECTION,  # no server has the role now, as in a failover
    "BufferError": Meaning.CONNECTION,  # the answer is not of the protocol
}
"""The classes that the driver raises itself."""

_CLOSED = "connection is closed"
_STATE_OF_CONNECTION = "cannot perform operation"


def of_asyncpg(name: str, text: str) -> Meaning | None:
    """The meaning of an error without a SQLSTATE, by its class and text; None if the class is not the driver's own."""
    if name == "InterfaceError":
        if _CLOSED in text:
            return Meaning.CONNECTION
        if text.startswith(_STATE_OF_CONNECTION):
            return Meaning.PASSING  # the driver is still cancelling the statement before
    return ASYNCPG.get(name)


SQLITE: dict[str, Meaning] = {
    "SQLITE_ERROR": Meaning.DEFECT,  # a statement that is not valid, or has too many parameters
    "SQLITE_INTERNAL": Meaning.PASSING,
    "SQLITE_PERM": Meaning.PASSING,
    "SQLITE_ABORT": Meaning.PASSING,
    "SQLITE_BUSY": Meaning.PASSING,
    "SQLITE_LOCKED": Meaning.PASSING,
    "SQLITE_NOMEM": Meaning.PASSING,
    "SQLITE_READONLY": Meaning.PASSING,
    "SQLITE_INTERRUPT": Meaning.PASSING,
    "SQLITE_IOERR": Meaning.PASSING,
    "SQLITE_CORRUPT": Meaning.PASSING,
    "SQLITE_NOTFOUND": Meaning.PASSING,
    "SQLITE_FULL": Meaning.PASSING,
    "SQLITE_CANTOPEN": Meaning.PASSING,
    "SQLITE_PROTOCOL": Meaning.PASSING,
    "SQLITE_EMPTY": Meaning.PASSING,
    "SQLITE_SCHEMA": Meaning.PASSING,  # another connection has changed the schema meanwhile
    "SQLITE_TOOBIG": Meaning.RECORD,
    "SQLITE_CONSTRAINT": Meaning.RECORD,
    "SQLITE_MISMATCH": Meaning.RECORD,
    "SQLITE_MISUSE": Meaning.DEFECT,
    "SQLITE_NOLFS": Meaning.PASSING,
    "SQLITE_AUTH": Meaning.PASSING,
    "SQLITE_FORMAT": Meaning.PASSING,
    "SQLITE_RANGE": Meaning.DEFECT,
    "SQLITE_NOTADB": Meaning.PASSING,
}
"""The primary result codes of SQLite that are errors."""

SQLITE3: dict[str, Meaning] = {
    "Warning": Meaning.DEFECT,
    "Error": Meaning.PASSING,
    "InterfaceError": Meaning.RECORD,  # a value has a type that SQLite does not store (Python 3.11)
    "DatabaseError": Meaning.PASSING,
    "DataError": Meaning.RECORD,
    "OperationalError": Meaning.PASSING,
    "IntegrityError": Meaning.RECORD,
    "InternalError": Meaning.PASSING,
    "ProgrammingError": Meaning.DEFECT,  # too few parameters, or two statements
    "NotSupportedError": Meaning.DEFECT,
}
"""The classes that Python's module raises itself, without a result code."""

_UNBOUND = "Error binding parameter"
_NO_CONNECTION = ("Cannot operate on a closed", "no active connection")


def of_sqlite(name: str, code: str | None, text: str) -> Meaning:
    """The meaning of an error of Python's module, by its class, result code and text."""
    if text.startswith(_NO_CONNECTION):
        return Meaning.CONNECTION
    if text.startswith(_UNBOUND):
        return Meaning.RECORD
    # The name of an extended code, such as SQLITE_IOERR_WRITE, begins with that of its primary code.
    primary = "_".join((code or "").split("_")[:2])
    return SQLITE.get(primary) or SQLITE3.get(name, Meaning.PASSING)
