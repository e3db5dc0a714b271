"""The commands of Postgres that make and restore a dump of the database of a URL, without its password."""

import shlex
from pathlib import Path

from datalayer.dialects.postgresql_url import parse_url
from datalayer.errors import ConfigurationError

_SECRETS = ("sslpassword",)
# The results of jobs' steps may be lost, and the schema belongs to another login where the database's may not make one.
_DUMP = "pg_dump --format=custom --no-owner --no-privileges --exclude-schema=threadkeeper_jobs"
_RESTORE = "pg_restore --no-owner --no-privileges --single-transaction --exit-on-error"


def dump_commands(url: str, dump: Path) -> tuple[str, str]:
    """The commands for a shell that write the dump into this file, and that restore it.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    try:
        parsed = parse_url(url)
    except ValueError as error:
        raise ConfigurationError(f"the Postgres URL {error}") from None
    given = {
        "host": ",".join(host for host, _ in parsed.servers),
        "port": ",".join(str(port) for _, port in parsed.servers),
        "user": parsed.login.get("user", ""),
        "dbname": parsed.login.get("database", ""),
        **{name: value for name, value in (*parsed.driver.items(), *parsed.files.items()) if name not in _SECRETS},
    }
    written = shlex.quote(" ".join(f"{name}={_quoted(value)}" for name, value in given.items() if value))
    file, part = shlex.quote(str(dump)), shlex.quote(f"{dump}.part")
    # pg_dump makes the file before it connects, and leaves it if it fails.
    return f"{_DUMP} --file={part} --dbname={written} && mv {part} {file}", f"{_RESTORE} --dbname={written} {file}"


def _quoted(value: str) -> str:
    """As libpq reads the value of a parameter."""
    if value and not any(character in value for character in " \\'"):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
