"""The reasons for an unusable database, in words for the operator.

The text of a driver is not repeated, because it may quote values of records, except a refusal of the connection. An
error without a reason here is named by its class.
"""

import socket
import ssl

_POSTGRESQL_STATES = {
    "28P01": "the server refuses the user's password",
    "28000": "the server rejects this user from this host, or requires TLS (see its pg_hba.conf)",
    "3D000": "there is no such database on the server",
    "42501": "the user lacks a required privilege",
    "25006": "the database is read-only",
    "53100": "the server's disk is full",
    "53300": "the server has no free connections",
    "57014": "the server cancelled the statement: it took too long, or an administrator cancelled it",
    "57P01": "the server was shut down or ended the connection",
    "57P02": "the server crashed and is starting again",
    "57P03": "the server is starting or stopping",
}
_NOBODY_THERE = "nothing listens at that host and port"
# Subclasses come before their base classes.
_CONNECTING = {
    socket.gaierror: "the host name cannot be resolved",
    ssl.SSLCertVerificationError: "the server's certificate is not trusted",
    ssl.SSLError: "the TLS handshake with the server failed",
    TimeoutError: "the server does not answer in time",
    ConnectionRefusedError: _NOBODY_THERE,
    ConnectionResetError: "the server closed the connection",
}
_SQLITE_CODES = {
    "SQLITE_BUSY": "another write, of this process or of another one, has locked it for too long",
    "SQLITE_CANTOPEN": "the file cannot be opened: its folder is missing, or cannot be entered or written",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk fails to read or write",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_READONLY": "the file or its folder is not writable",
}


def of_postgresql(error: object) -> str:
    """The reason of a driver's error, or of SQLAlchemy's wrapper of it."""
    cause = getattr(error, "__cause__", None) or error
    name = type(cause).__name__
    if constraint := getattr(cause, "constraint_name", None):
        return f"{name}: {constraint}"
    state = str(getattr(cause, "sqlstate", None))
    if words := _POSTGRESQL_STATES.get(state):
        return words
    if name == "TargetServerAttributeNotMatched":
        return "no host has the role that target_session_attrs asks for"
    if state.startswith("08"):
        # The text of a pooler: it names a parameter, a database or a user, but no value of a record.
        return "the server says: " + str(cause).partition("\n")[0][:200]
    return (_of_connecting(cause) if isinstance(cause, OSError) else None) or name


def of_sqlite(error: object) -> str:
    """The reason of a driver's error."""
    code = getattr(error, "sqlite_errorname", None)
    if not isinstance(code, str):
        return type(error).__name__
    # An extended code such as SQLITE_CANTOPEN_ISDIR begins with the primary code.
    return next((words for plain, words in _SQLITE_CODES.items() if code.startswith(plain)), code)


def _of_connecting(error: OSError) -> str | None:
    message = str(error)
    # If a name has several addresses, their errors are joined into one without an error number.
    if "Connect call failed" in message:
        return _NOBODY_THERE
    if "rejected SSL upgrade" in message:
        return "the URL requires TLS, but the server does not offer it"
    return next((words for kind, words in _CONNECTING.items() if isinstance(error, kind)), error.strerror)
