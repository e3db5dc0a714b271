"""The service file of libpq: named sets of connection parameters.

The driver reads such a file too, but neither `PGSERVICE` nor most parameters in it, it says nothing of an unknown
service, and it fails on a percent sign in a password.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path


def read_service(name: str, file: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the service.

    Args:
        file: the service file; if empty, that of the environment, of the home folder, and of the system.

    Raises:
        ValueError: no file has the service, or a file cannot be read.
    """
    places = [Path(given)] if (given := file or environment.get("PGSERVICEFILE", "")) else _usual_places(environment)
    for place in places:
        found = _sections(place, must_exist=bool(given))
        if name in found:
            return dict(found[name])
    looked = ", ".join(map(str, places)) or "the home folder"
    raise ValueError(f'names the service "{name}", which is not defined in {looked}')


def _usual_places(environment: Mapping[str, str]) -> list[Path]:
    home, system = environment.get("HOME", ""), environment.get("PGSYSCONFDIR", "")
    places = [Path(home) / ".pg_service.conf"] if home else []
    return places + ([Path(system) / "pg_service.conf"] if system else [])


def _sections(place: Path, *, must_exist: bool) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(
        default_section="", delimiters=("=",), comment_prefixes=("#",), interpolation=None, strict=False
    )
    try:
        with place.open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        if must_exist:
            raise ValueError(f"needs the service file {place}, which does not exist") from None
    except OSError as error:
        raise ValueError(f"needs the service file {place}, which cannot be read ({error.strerror})") from None
    except (configparser.Error, UnicodeDecodeError):
        # The error quotes the line, which may hold a password.
        raise ValueError(f"needs the service file {place}, which has a line that is not a parameter") from None
    return parser
