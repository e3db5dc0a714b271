"""Reads URLs of stores: their secrets (the password, and parameters with names of secrets), and the file of SQLite."""

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

MASK = "********"
_SECRET_PARAMETER = re.compile(r"pass|pwd|secret|key|token|sig", re.IGNORECASE)


def split_url(url: str) -> SplitResult:
    """The parts of a URL. The port is checked to be a number.

    Raises:
        ValueError: not a valid URL. The message does not repeat the URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a valid URL (special characters in a password must be percent-encoded)") from None
    return parts


def secrets_in_url(url: str) -> list[str]:
    """The secrets in a URL, each as written and percent-decoded."""
    if loose := _loose_password(url):
        return [loose, *(secret for secret in secrets_in_url(_without_loose_password(url)) if secret != MASK)]
    try:
        parts = urlsplit(url)
    except ValueError:
        written = _before_at(url)[1]
        return [written] if written else []
    password = parts.password or ""
    parameters = [value for key, value in parse_qsl(parts.query) if _SECRET_PARAMETER.search(key)]
    return [secret for secret in (password, unquote(password), *parameters) if secret]


def mask_url(url: str) -> str:
    """The URL with its secrets masked."""
    if _loose_password(url):
        return mask_url(_without_loose_password(url))
    try:
        # Several hosts have several ports, which is not a number.
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://{MASK}"
    user, at, address = parts.netloc.rpartition("@")
    if parts.password is not None:
        user = f"{user.partition(':')[0]}:{MASK}"
    parameters = [(key, MASK if _SECRET_PARAMETER.search(key) else value) for key, value in parse_qsl(parts.query)]
    query = urlencode(parameters, quote_via=quote, safe="/:*")
    masked = urlunsplit(("", "", parts.path, query, parts.fragment))
    return f"{parts.scheme}://{user}{at}{address}{masked}" if "://" in url else masked


def _loose_password(url: str) -> str:
    """A password with a character that ends the address of a URL: /, ? or #. It should be percent-encoded."""
    _, password, address = _before_at(url)
    return password if address and any(character in password for character in "/?#") else ""


def _without_loose_password(url: str) -> str:
    user, _, address = _before_at(url)
    return f"{url.partition('://')[0]}://{user}:{MASK}@{address}"


def _before_at(url: str) -> tuple[str, str, str]:
    """The user, the password and the rest, where everything up to the last @ can be part of a password."""
    credentials, at, address = url.partition("://")[2].rpartition("@")
    user, _, password = credentials.partition(":")
    return (user, password, address) if at else ("", "", "")


def sqlite_file(database_url: str) -> Path | None:
    """The file of a SQLite database; None for other engines. SQLAlchemy decodes the path as well."""
    if not database_url.startswith("sqlite:"):
        return None
    return Path(unquote(database_url.removeprefix("sqlite:///").partition("?")[0]))
