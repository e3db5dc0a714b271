"""The address of a request at its provider, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from threadkeeper.gateway.endpoints import CLIENTS, Endpoint, endpoint_of
from threadkeeper.gateway.targets import Target, target_of

# Most calls go to a few addresses, and to check one anew takes 4 % of the CPU time of a call.
_MOST_KEPT = 500
_LONGEST_KEPT = 300


def address_of(
    base_url: str, path: str, query: str, method: str, headers: Mapping[str, str], *, passes_key: bool
) -> tuple[Target, Endpoint]:
    """The address and the endpoint of a request.

    Args:
        base_url: of the provider.
        path: as sent, behind `/gateway/{project}/{provider}/`.
        query: as sent, without the question mark.
        method: of the request.
        headers: of the caller, by their names in lower case.
        passes_key: whether the caller's own keys are passed on.

    Raises:
        Refused: the path or the query would leave the base URL.
    """
    named = tuple(name for name in CLIENTS if name in headers)
    if not query and len(path) <= _LONGEST_KEPT:
        return _kept(base_url, path, method, named)
    target, endpoint = _address(base_url, path, query, method, named)
    if endpoint.key_style == "x-goog-api-key" and not passes_key:
        # Gemini takes keys in the query, too.
        target = target_of(base_url, path, query, without=("key",))
    return target, endpoint


def _address(base_url: str, path: str, query: str, method: str, named: tuple[str, ...]) -> tuple[Target, Endpoint]:
    target = target_of(base_url, path, query)
    return target, endpoint_of(urlsplit(base_url).hostname or "", target.path, method, named)


@lru_cache(_MOST_KEPT)
def _kept(base_url: str, path: str, method: str, named: tuple[str, ...]) -> tuple[Target, Endpoint]:
    """The address of a request without a query, which could have a key of the caller."""
    return _address(base_url, path, "", method, named)
