"""The headers that the gateway passes on in both directions, and those that it keeps back.

Kept back are the headers of one connection (RFC 9110), keys, cookies, the addresses of the caller, and our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from threadkeeper.web.auth.bearer import bearer_token
from threadkeeper.web.auth.keys import only_secret

KeyStyle = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"]
"""How a provider expects its key: `Authorization: Bearer …`, or in a header of this name."""

RawHeaders = Iterable[tuple[bytes, bytes]]

OURS = "x-threadkeeper-"
_OF_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", "http2-settings"),
    }
)
KEYS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_NOT_SENT = _OF_CONNECTION | {
    *("host", "content-length", "accept-encoding", "cookie"),
    *("forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"),
}
# A provider sets nothing for our own origin.
_NOT_PASSED_BACK = _OF_CONNECTION | {
    *("set-cookie", "set-cookie2", "strict-transport-security", "alt-svc", "clear-site-data", "location", "refresh"),
    *(
        "content-security-policy",
        "nel",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "x-frame-options",
    ),
    *("access-control-allow-origin", "access-control-allow-credentials", "date", "server"),
}
_DECODED = ("gzip", "x-gzip", "deflate", "identity")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_OUR_KEY = re.compile(r"(?:\w+\s+)?tk_", re.IGNORECASE)
_LONGEST_NAME = 200
_RAW_KEYS = frozenset(name.encode() for name in KEYS)


def our_secret(headers: RawHeaders) -> str | None:
    """Our own key of a request, in whatever header its client sends keys; None without any key.

    A key of the provider beside it is none of ours. Without any of ours, it is the first one, which the gate refuses.

    Args:
        headers: of the caller, with names in lower case, as ASGI has them.

    Raises:
        KeyRefused: the request has several different ones.
    """
    sent = [value.decode("latin-1").strip() for name, value in headers if name in _RAW_KEYS]
    bare = [bearer_token(value) or value for value in sent]
    return only_secret({value for value in bare if value.startswith("tk_")} or bare[:1])


def request_headers(
    headers: RawHeaders,
    *,
    key: str | None,
    style: KeyStyle,
    passes_key: bool,
    accept_encoding: str | None,
) -> list[tuple[str, str]]:
    """The headers for the provider.

    Args:
        headers: of the caller, in UTF-8.
        key: the key of the provider, if the gateway puts one in.
        style: how the provider expects it.
        passes_key: whether the caller's own keys are passed on. Our own keys never are.
        accept_encoding: as sent by the caller. Only what the copy can be decoded from is passed on.
    """
    found = list(headers)
    dropped = _named_by_connection(found, _NOT_SENT)
    sent = []
    for raw_name, raw_value in found:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode()
        if name in dropped or name.startswith(OURS):
            continue
        if name in KEYS and (not passes_key or _OUR_KEY.match(value)):
            continue
        sent.append((name, value))
    if key is not None:
        sent = [(name, value) for name, value in sent if name not in KEYS]
        sent.append(("authorization", f"Bearer {key}") if style == "bearer" else (style, key))
    if accept_encoding is not None:
        sent.append(("accept-encoding", _decodable(accept_encoding)))
    return sent


def response_headers(headers: RawHeaders, *, keeps_length: bool) -> list[tuple[bytes, bytes]]:
    """The headers for the caller. `keeps_length`: whether the body goes through unchanged."""
    found = [(name.lower(), value) for name, value in headers]
    dropped = _named_by_connection(found, _NOT_PASSED_BACK)
    if not keeps_length:
        dropped |= {"content-length"}
    # The answer is data, whatever it says of itself: a browser shows it without scripts.
    ours = [(b"content-security-policy", b"default-src 'none'; sandbox"), (b"x-content-type-options", b"nosniff")]
    return [
        (name, value)
        for name, value in found
        if _VALUE.fullmatch(value) and name.isascii() and name.decode() not in dropped
    ] + ours


def caller_library(headers: dict[str, str]) -> str | None:
    """The client library, as its User-Agent names it."""
    return _shown(headers.get("user-agent"))


def caller_system(headers: dict[str, str]) -> str | None:
    """The operating system of the caller. The official clients name it in a header of their own."""
    if name := headers.get("x-stainless-os"):
        return _shown(name)
    return _system_in(headers.get("user-agent", ""))


@lru_cache(maxsize=1_000)
def _system_in(agent: str) -> str | None:
    from ua_parser import parse_os  # noqa: PLC0415  loads a table

    found = parse_os(agent[:_LONGEST_NAME]) if agent else None
    return " ".join(filter(None, (found.family, found.major))) if found else None


def _shown(text: str | None) -> str | None:
    return "".join(filter(str.isprintable, text))[:_LONGEST_NAME].strip() or None if text else None


@lru_cache(maxsize=100)
def _decodable(accepted: str) -> str:
    """The codings of this list that can be decoded, with their weights."""
    codings = [coding.strip() for coding in accepted.split(",")]
    return ", ".join(one for one in codings if one.partition(";")[0].strip().lower() in _DECODED) or "identity"


def _named_by_connection(headers: Sequence[tuple[bytes, bytes]], others: frozenset[str]) -> frozenset[str]:
    """The names of headers that are of the connection, as it says itself, and `others`."""
    values = [value.decode("latin-1") for name, value in headers if name.lower() == b"connection"]
    return others.union(name.strip().lower() for value in values for name in value.split(",")) if values else others
