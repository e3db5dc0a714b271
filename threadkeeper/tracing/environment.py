"""What the standard variables of OpenTelemetry say, as far as this application must know. Imports nothing of it."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

_PREFIX = "OTEL_EXPORTER_OTLP_"
_PROTOCOL = "http/protobuf"
_PACKAGES = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_LOCAL = "http://localhost:4318"
_OF_TRACES = "/v1/traces"
# A part of a path that names an interface, and is no token.
_PLAIN = re.compile(r"[a-z_-]{0,11}|v\d")


def problem() -> str | None:
    """Why no traces can be sent, as a sentence; None if they can."""
    if any(_is_missing(package) for package in _PACKAGES):
        return "TELEMETRY needs packages that are not installed: install threadkeeper[telemetry]."
    name, protocol = _of_traces("PROTOCOL")
    if protocol and protocol != _PROTOCOL:
        return f"{name} must be {_PROTOCOL}, which is the only protocol of the extra telemetry."
    name, endpoint = _of_traces("ENDPOINT")
    if endpoint and not _is_web_address(endpoint):
        return f"{name} must be an address that starts with http:// or https://."
    return None


def collector() -> str:
    """Host and port to which traces are sent, without what a URL can have of secrets."""
    return urlsplit(_of_traces("ENDPOINT")[1] or _LOCAL).netloc.rpartition("@")[2]


def collector_secrets() -> list[str]:
    """What authorizes at the collector, as written and percent-decoded, so that the log can mask it: the values of the
    headers, and of the URL the password, the query and a path with more than plain words. Messages of the exporter can
    contain the URL."""
    found = []
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        found += _secrets_of(os.environ.get(_PREFIX + name, "").strip())
    for name in ("HEADERS", "TRACES_HEADERS"):
        for pair in os.environ.get(_PREFIX + name, "").split(","):
            value = pair.partition("=")[2].strip()
            # `Authorization=Basic …`: the word in front is none.
            found += [value, unquote(value), unquote(value).rpartition(" ")[2]]
    return [value for value in dict.fromkeys(found) if value]


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # A port that is no number is found when it is read.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _secrets_of(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    path = parts.path.rstrip("/").removesuffix(_OF_TRACES).strip("/")
    found = [parts.query, parts.password or parts.username or ""]
    if not all(_PLAIN.fullmatch(part) for part in path.split("/")):
        found.append(path)
    return [*found, *map(unquote, found)]


def _of_traces(name: str) -> tuple[str, str]:
    """A variable of the exporter with its value; that for traces alone goes before."""
    names = (f"{_PREFIX}TRACES_{name}", f"{_PREFIX}{name}")
    return next(((one, value) for one in names if (value := os.environ.get(one, "").strip())), (names[1], ""))


def _is_missing(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:
        return True
