"""The service file of libpq: named sets of connection parameters.

The driver reads such a file too, but neither `PGSERVICE` nor most parameters in it, it says nothing of an unknown
service, and it fails on a percent sign in a password. A parser of INI files reads other lines than libpq: indented
lines as continuations, repeated sections and parameters as replacements.
"""

from collections.abc import Mapping
from pathlib import Path


def read_service(name: str, file: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the service.

    Args:
        file: the service file; if empty, that of the environment or of the home folder. The system's file comes last.

    Raises:
        ValueError: no file has the service, or a file cannot be read.
    """
    named = [Path(given)] if (given := file or environment.get("PGSERVICEFILE", "")) else []
    home, system = environment.get("HOME", ""), environment.get("PGSYSCONFDIR", "")
    places = named or ([Path(home) / ".pg_service.conf"] if home else [])
    places += [Path(system) / "pg_service.conf"] if system else []
    for place in places:
        if (found := _section(_lines(place), name, place)) is not None:
            if nested := found.keys() & {"service", "servicefile"}:
                raise ValueError(f'has the parameter "{nested.pop()}" within the service "{name}", where it cannot be')
            return found
    for place in named:
        if not place.exists():
            raise ValueError(f"needs the service file {place}, which does not exist")
    looked = ", ".join(map(str, places)) or "the home folder"
    raise ValueError(f'names the service "{name}", which is not defined in {looked}')


def _lines(place: Path) -> list[str]:
    """The lines without blanks around them; none if there is no file."""
    try:
        return [line.strip() for line in place.read_text("utf-8").split("\n")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(f"needs the service file {place}, which cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"needs the service file {place}, which is not in UTF-8") from None


def _section(lines: list[str], name: str, place: Path) -> dict[str, str] | None:
    """The parameters of the first section of this name; as in libpq, the first of a parameter counts."""
    found: dict[str, str] | None = None
    for line in lines:
        if line.startswith("["):
            if found is not None:
                break
            found = {} if line.startswith(f"[{name}]") else None
        elif found is not None and line and not line.startswith("#"):
            parameter, equals, value = line.partition("=")
            if not equals:
                # The line is not quoted, because it may hold a password.
                raise ValueError(f"needs the service file {place}, which has a line that is not a parameter")
            if parameter.endswith((" ", "\t")):
                # libpq refuses blanks before "=", so those after it belong to no value of libpq's.
                parameter, value = parameter.rstrip(), value.lstrip()
            found.setdefault(parameter, value)
    return found
