"""Headers for HTTP APIs that need a key: variables `KNOWLEDGE_HEADER_NAME`, from the environment or from `.env`.

A data source stores the name of the variable alone. The value says which host gets the header, so that nobody who edits
data sources can send a key elsewhere: `api.example.com Authorization: Bearer …`.
"""

import re
from collections.abc import Iterator

from threadkeeper.knowledge.fetching.hosts import FetchHeader
from threadkeeper.settings import rules
from threadkeeper.settings.settings import FilledEnvFile, FilledEnvironment, Settings, SettingsError, unreadable

PREFIX = "KNOWLEDGE_HEADER_"
_VALUE = re.compile(r"(?P<host>\S+)\s+(?P<name>[^\s:]+):\s*(?P<value>\S.*)")


def fetch_headers() -> dict[str, FetchHeader]:
    """The headers by the names of their variables, in capitals.

    Raises:
        SettingsError: a value is not valid, or the `.env` file cannot be read.
    """
    found: dict[str, FetchHeader] = {}
    for name, text in _variables():
        matched = _VALUE.fullmatch(text)
        try:
            if matched is None:
                raise ValueError("must name a host and its header, as in api.example.com Authorization: Bearer KEY")
            header = FetchHeader(matched["host"].lower(), rules.header_name(matched["name"]), matched["value"])
            if not (header.value.isascii() and header.value.isprintable()):
                raise ValueError("contains a character that is not plain ASCII")
        except ValueError as error:
            raise SettingsError(f"{name} {error}.") from None
        found[name] = header
    return found


def header_secrets() -> list[str]:
    """The values of all such headers, valid or not, so that the log can mask them."""
    values = [_secret(text) for _, text in _variables()]
    return [secret for value in values for secret in (value, value.rpartition(" ")[2]) if secret]


def _secret(text: str) -> str:
    if matched := _VALUE.fullmatch(text):
        return matched["value"]
    # What is before the blank can be a host with a port.
    behind = text.split(maxsplit=1)[-1]
    return (behind.partition(":")[2] or behind).strip()


def _variables() -> Iterator[tuple[str, str]]:
    try:
        given = {**FilledEnvFile(Settings).env_vars, **FilledEnvironment(Settings).env_vars}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(unreadable(error)) from None
    for name, text in given.items():
        if name.upper().startswith(PREFIX) and text and text.strip():
            yield name.upper(), text.strip()
