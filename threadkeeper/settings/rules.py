"""The rules for single settings. They need the standard library alone: a command that needs one setting skips pydantic.

Each function returns the value, and raises ValueError with the reason, which follows the name of the setting in a
sentence.
"""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

from datalayer.dialects.postgresql_url import parse_url
from threadkeeper.settings.urls import split_url

ENV_FILE = ".env"
DATA_DIR = Path(".data")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def default_database_url(data_dir: Path) -> str:
    """The database if `DATABASE_URL` is not set. In a URL, percent signs and question marks of a path are encoded."""
    path = str(data_dir.absolute() / "threadkeeper.db").replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def at_home(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("contains the home folder of an unknown user") from None


def database_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not value:
        return value
    if separator and scheme == "sqlite":
        if not rest.startswith("/") or rest == "/" or ":memory:" in rest:
            raise ValueError("must contain a file path, as in sqlite:///path/to/file.db")
    elif separator and scheme.partition("+")[0] in ("postgresql", "postgres"):
        parse_url(value)
    elif separator and scheme == "dynamodb":
        raise ValueError(
            "cannot be dynamodb:// here: accounts, usage, review, assistants and jobs need a SQL database; an "
            "application of your own can use datalayer with DynamoDB (docs/dynamodb.md)"
        )
    else:
        raise ValueError("must start with sqlite:/// or postgresql://")
    return value


def database_read_url(value: str) -> str:
    if value and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    if value and len(parse_url(value).servers) > 1:
        raise ValueError("must name one server, because what one standby has replayed says nothing of another")
    return database_url(value)


def blob_url(value: str) -> str:
    scheme, separator, place = value.partition("://")
    if not value:
        return value
    if not separator or scheme not in ("file", "azure", "azure-blob", "s3"):
        raise ValueError("must start with file:///, azure://, azure-blob:// or s3://")
    if scheme == "file" and not (place.startswith("/") and place != "/"):
        raise ValueError("must contain a folder, as in file:///path/to/folder")
    if scheme.startswith("azure") and not all(place.partition("/")[::2]):
        raise ValueError(f"must contain an account and a container, as in {scheme}://account/container")
    if scheme == "s3" and not place:
        raise ValueError("must contain a bucket, as in s3://bucket")
    split_url(value)
    return value


def web_address(value: str) -> str:
    _not_quoted(value)
    if any(character.isspace() for character in value):
        raise ValueError("contains a blank")
    if split_url(value).scheme not in ("http", "https"):
        raise ValueError("must start with http:// or https://")
    if not split_url(value).hostname:
        raise ValueError("must contain a host")
    return value


def model_address(value: str) -> str:
    """The address of a model server, to which the client adds the path of each request."""
    address = web_address(value).rstrip("/")
    for path in ("/chat/completions", "/embeddings"):
        if address.endswith(path):
            raise ValueError(f"must end before {path}, as in {address.removesuffix(path)}")
    return value


def names(value: str) -> tuple[str, ...]:
    """Names separated by commas, each once."""
    found = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    for name in found:
        _not_quoted(name)
    if not found:
        raise ValueError("must contain at least one name")
    return found


def short(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > 20 or any(len(name) > 60 for name in value):
        raise ValueError("must contain at most 20 names of at most 60 characters")
    return value


def pairs(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(all(part.strip() for part in pair.partition("=")[::2]) for pair in value):
        raise ValueError("must contain pairs of an assistant and a user, as in travel=alice")
    return value


def fits_a_header(value: str) -> str:
    _not_quoted(value)
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("contains a space or a character that is not plain ASCII")
    return value


def header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of a header, as in X-Forwarded-User")
    return value


def long_enough(value: str) -> str:
    if len(value) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        raise ValueError("must be the name of a time zone, as in Europe/Berlin") from None
    return value


def _not_quoted(value: str) -> None:
    """Some tools that set environment variables keep the marks, as Docker does in a file of variables."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        raise ValueError("is in quotation marks; remove them")
