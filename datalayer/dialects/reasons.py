"""Why a database cannot be used, in the words of who has to mend it.

A driver's own text may quote values, hosts and users; so nothing of it is repeated. What has no words here is named
by its class, which a search engine knows.
"""

import socket
import ssl

_POSTGRESQL_STATES = {
    "28P01": "the server refuses the user's password",
    "28000": "the server does not let this user in from here, or only with TLS (its pg_hba.conf says who may)",
    "3D000": "there is no such database on the server",
    "42501": "the user lacks a right that is needed",
    "25006": "the database is read-only",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left for another client",
    "57014": "the server broke the statement off: it took too long, or somebody cancelled it",
    "57P01": "the server was shut down or ended the connection",
    "57P02": "the server crashed and is starting again",
    "57P03": "the server is starting or stopping",
}
_NOBODY_THERE = "nothing listens at that host and port"
# Those of a kind before the kind.
_CONNECTING = {
    socket.gaierror: "the host's name is not known",
    ssl.SSLCertVerificationError: "the server's certificate is not trusted",
    ssl.SSLError: "no TLS connection could be agreed on with the server",
    TimeoutError: "the server does not answer in time",
    ConnectionRefusedError: _NOBODY_THERE,
    ConnectionResetError: "the connection was ended from the other side",
}
_SQLITE_CODES = {
    "SQLITE_BUSY": "another process has it locked",
    "SQLITE_CANTOPEN": "the file cannot be opened: its folder is missing, or may not be entered or written",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk fails to read or write",
    "SQLITE_NOTADB": "the file is no SQLite database",
    "SQLITE_READONLY": "the file or its folder may not be written",
}


def of_postgresql(error: object) -> str:
    """The reason of a driver's error, or of SQLAlchemy's wrapper of it."""
    cause = getattr(error, "__cause__", None) or error
    name = type(cause).__name__
    if constraint := getattr(cause, "constraint_name", None):
        return f"{name}: {constraint}"
    if words := _POSTGRESQL_STATES.get(str(getattr(cause, "sqlstate", None))):
        return words
    return (_of_connecting(cause) if isinstance(cause, OSError) else None) or name


def of_sqlite(error: object) -> str:
    """The reason of a driver's error."""
    code = getattr(error, "sqlite_errorname", None)
    if not isinstance(code, str):
        return type(error).__name__
    # An extended code begins with the plain one: SQLITE_CANTOPEN_ISDIR.
    return next((words for plain, words in _SQLITE_CODES.items() if code.startswith(plain)), code)


def _of_connecting(error: OSError) -> str | None:
    told = str(error)
    # Where a name has several addresses, their errors come as one without a number.
    if "Connect call failed" in told:
        return _NOBODY_THERE
    if "rejected SSL upgrade" in told:
        return "the server offers no TLS, and the URL asks for it"
    return next((words for kind, words in _CONNECTING.items() if isinstance(error, kind)), error.strerror)
