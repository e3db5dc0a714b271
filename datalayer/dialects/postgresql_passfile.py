"""The password file of libpq (`~/.pgpass`): a line for each host, port, database and user.

The driver reads such a file too, but it leaves the backslashes of an escaped colon or backslash in the password, cuts
blanks from the password's end, and takes every folder of sockets for "localhost".
"""

import logging
import re
import stat
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

# A field ends at a colon that is not escaped.
_FIELD = re.compile(r"((?:\\.|[^\\:])*\\?)(?::|$)", re.DOTALL)
_DEFAULT_FOLDERS = ("", "/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108  libpq's folders of sockets


class PassFile:
    """One file, which may change while the process runs."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._has_warned = False

    def password(self, servers: Sequence[tuple[str, int]], database: str, user: str) -> str | None:
        """The password for these servers; None if there is none.

        Raises:
            ValueError: the servers have different passwords, and the driver sends one to all.
        """
        lines = self._lines()
        found = {_password(lines, host, port, database, user) for host, port in servers} - {None}
        if len(found) > 1:
            raise ValueError(
                f"the hosts have different passwords in {self._path}, and the driver sends the same one to all"
            )
        return found.pop() if found else None

    def _lines(self) -> list[str]:
        if self._path is None:
            return []
        try:
            found = self._path.stat()
            if not stat.S_ISREG(found.st_mode):
                self._warn("it is not a plain file")
                return []
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                self._warn("other users may read or write it, so its mode has to be 0600")
                return []
            return self._path.read_text("utf-8").split("\n")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            self._warn(f"it cannot be read ({type(error).__name__})")
            return []

    def _warn(self, why: str) -> None:
        # Once, and not for each connection.
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the password file %s is not used: %s", self._path, why)


def _password(lines: Sequence[str], host: str, port: int, database: str, user: str) -> str | None:
    asked = ({host, "localhost"} if host in _DEFAULT_FOLDERS else {host}, {str(port)}, {database}, {user})
    for line in lines:
        fields = _FIELD.findall(line.rstrip("\r"))[:5]
        if line.startswith("#") or len(fields) < 5 or not fields[4]:
            continue
        pairs = zip(fields, asked, strict=False)
        if all(field == "*" or _unescaped(field) in values for field, values in pairs):
            return _unescaped(fields[4])
    return None


def _unescaped(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field, flags=re.DOTALL)
