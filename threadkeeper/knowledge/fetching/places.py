"""The places from which may be fetched, and the addresses within them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yarl import URL

from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.fetching.hosts import UrlHost

_LONGEST_ADDRESS = 2_000


def shown(address: URL | str) -> str:
    """An address, or a text in its place, as it may be told.

    Its query can be a key, and what is before an @ a password.
    """
    if isinstance(address, URL):
        return str(address.with_query(None).with_fragment(None))[:200]
    return re.split("[?#]", address.rpartition("@")[2], maxsplit=1)[0][:200]


class Places:
    """The hosts of the settings."""

    def __init__(self, hosts: Sequence[UrlHost] = ()) -> None:
        self._hosts = {(host.scheme, host.host, host.port): host for host in hosts}

    @property
    def origins(self) -> list[str]:
        """The hosts with their schemes, as in "https://docs.example.com"."""
        return [str(URL.build(scheme=scheme, host=host, port=port)) for scheme, host, port in self._hosts]

    def parse(self, text: str) -> URL:
        """The address of a text, of a host that is allowed. Raises FetchFailed."""
        try:
            address = URL(text.strip())
            is_web = address.scheme in ("http", "https") and bool(address.raw_host)
        except ValueError:
            is_web = False
        if not is_web or len(text) > _LONGEST_ADDRESS or address.user is not None or address.password is not None:
            raise FetchFailed("address", address=shown(text))
        self.host_of(address)
        return address.with_fragment(None)

    def host_of(self, address: URL) -> UrlHost:
        """The rule of a host. Raises FetchFailed if there is none."""
        if not self._hosts:
            raise FetchFailed("no_hosts")
        host = (address.raw_host or "").lower().rstrip(".")
        rule = self._hosts.get((address.scheme, host, address.port or 0))
        if rule is None:
            raise FetchFailed("host", origin=str(address.origin()))
        return rule
