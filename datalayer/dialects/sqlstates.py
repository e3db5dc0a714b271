"""What each SQLSTATE of Postgres means to the library. Only the classes 22 and 23 are faults of a record, but for an id
that a sequence gives twice (`postgresql._behind`).

Appendix A of Postgres's manual lists the classes. A code has a meaning of its own where its class is too wide.
"""

from enum import Enum


class Meaning(Enum):
    """What a refusal means, and so what becomes of the call."""

    RECORD = "the record has a value that its column or a constraint rejects: its own caller is told"
    SCHEMA = "the database lacks a table or column: the operator migrates it"
    CONNECTION = "this connection cannot go on: the same call, once more on a new one, may work"
    SLOW = "the statement took too long, perhaps only this one"
    PASSING = "the server cannot do it now: the call is repeated, and writes wait"
    SETTINGS = "the login, the database or the privileges are wrong: the start ends, and later writes wait"
    DEFECT = "the library sent a statement that the server refuses: its own caller is told, and nothing waits"


CLASSES: dict[str, Meaning] = {
    "00": Meaning.DEFECT,  # successful completion
    "01": Meaning.DEFECT,  # warning
    "02": Meaning.DEFECT,  # no data
    "03": Meaning.CONNECTION,  # SQL statement not yet complete
    "08": Meaning.CONNECTION,  # connection exception; a pooler's refusals are 08P01
    "09": Meaning.DEFECT,  # triggered action exception
    "0A": Meaning.DEFECT,  # feature not supported
    "0B": Meaning.DEFECT,  # invalid transaction initiation
    "0F": Meaning.DEFECT,  # locator exception
    "0L": Meaning.SETTINGS,  # invalid grantor
    "0P": Meaning.SETTINGS,  # invalid role specification
    "0Z": Meaning.DEFECT,  # diagnostics exception
    "10": Meaning.DEFECT,  # XQuery error
    "20": Meaning.DEFECT,  # case not found
    "21": Meaning.DEFECT,  # cardinality violation
    "22": Meaning.RECORD,  # data exception
    "23": Meaning.RECORD,  # integrity constraint violation
    "24": Meaning.CONNECTION,  # invalid cursor state
    "25": Meaning.CONNECTION,  # invalid transaction state; a standby is read-only, and a new one may find the primary
    "26": Meaning.CONNECTION,  # invalid SQL statement name: a pooler answered with another session
    "27": Meaning.DEFECT,  # triggered data change violation
    "28": Meaning.SETTINGS,  # invalid authorization specification
    "2B": Meaning.DEFECT,  # dependent privilege descriptors still exist
    "2D": Meaning.CONNECTION,  # invalid transaction termination
    "2F": Meaning.DEFECT,  # SQL routine exception
    "34": Meaning.CONNECTION,  # invalid cursor name: as for 26
    "38": Meaning.DEFECT,  # external routine exception
    "39": Meaning.DEFECT,  # external routine invocation exception
    "3B": Meaning.CONNECTION,  # savepoint exception
    "3D": Meaning.SETTINGS,  # invalid catalog name: no such database
    "3F": Meaning.SCHEMA,  # invalid schema name
    "40": Meaning.PASSING,  # transaction rollback: deadlock, serialization failure
    "42": Meaning.DEFECT,  # syntax error or access rule violation
    "44": Meaning.DEFECT,  # WITH CHECK OPTION violation
    "53": Meaning.PASSING,  # insufficient resources: disk, memory, connections
    "54": Meaning.DEFECT,  # program limit exceeded
    "55": Meaning.PASSING,  # object not in prerequisite state
    "57": Meaning.PASSING,  # operator intervention
    "58": Meaning.PASSING,  # system error
    "72": Meaning.PASSING,  # snapshot too old
    "F0": Meaning.PASSING,  # configuration file error
    "HV": Meaning.DEFECT,  # foreign data wrapper error
    "P0": Meaning.DEFECT,  # PL/pgSQL error
    "XX": Meaning.PASSING,  # internal error: damaged data too
}
CODES: dict[str, Meaning] = {
    "42501": Meaning.SETTINGS,  # insufficient privilege
    "42703": Meaning.SCHEMA,  # undefined column
    "42704": Meaning.SCHEMA,  # undefined object
    "42P01": Meaning.SCHEMA,  # undefined table
    "42P03": Meaning.CONNECTION,  # duplicate cursor: as for 26
    "42P05": Meaning.CONNECTION,  # duplicate prepared statement: as for 26
    "55P03": Meaning.SLOW,  # lock not available
    "57014": Meaning.SLOW,  # query cancelled
    "57P01": Meaning.CONNECTION,  # admin shutdown
    "57P02": Meaning.CONNECTION,  # crash shutdown
    "57P03": Meaning.CONNECTION,  # cannot connect now
    "57P04": Meaning.SETTINGS,  # database dropped
    "57P05": Meaning.CONNECTION,  # idle session timeout
}
_OF_A_POOLER = ("26000", "42P05", "34000", "42P03")


def meaning_of(state: str) -> Meaning:
    """The meaning of a SQLSTATE. An unknown class passes: waiting loses nothing."""
    return CODES.get(state) or CLASSES.get(state[:2], Meaning.PASSING)


def tells_of_a_pooler(state: str | None) -> bool:
    """Whether the code means that a statement or portal is in another session than it was put into."""
    return state in _OF_A_POOLER
