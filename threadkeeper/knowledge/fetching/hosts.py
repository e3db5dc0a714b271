"""The rule of `KNOWLEDGE_URL_HOSTS`: from which hosts data sources are fetched. It needs the standard library alone.

An entry is an origin, as in `docs.example.com`, `docs.example.com:8443` or `http://docs.example.com`. A host of a
private network also names the network in which it may be, as in `wiki.corp.example=10.1.0.0/16`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

_ENTRY = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
    r"(?:=(?P<network>[0-9a-f:./]+))?",
    re.IGNORECASE,
)
_PORTS = {"https": 443, "http": 80}
# Link-local addresses are left out: there, clouds give the credentials of their machines away.
_OWN_NETWORKS: tuple[Network, ...] = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7"),
    )
)


@dataclass(frozen=True, slots=True)
class UrlHost:
    """An origin from which may be fetched. Without networks, its addresses must be public; otherwise in one of them."""

    scheme: str
    host: str
    port: int
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchHeader:
    """A header, and the host that gets it: `host`, or `host:port` unless it is https at its usual port."""

    host: str
    name: str
    value: str = field(repr=False)


def url_hosts(entries: Iterable[str]) -> tuple[UrlHost, ...]:
    """The origins of the entries. One that is listed twice may be in both networks.

    Raises:
        ValueError: an entry is not valid; the reason follows the name of the setting.
    """
    found: dict[tuple[str, str, int], tuple[Network, ...]] = {}
    for entry in entries:
        matched = _ENTRY.fullmatch(entry.strip())
        if matched is None:
            raise ValueError(
                f"must contain hosts, as in docs.example.com or http://wiki.example=10.0.0.0/8, not {entry!r}"
            )
        scheme = (matched["scheme"] or "https").lower()
        port = int(matched["port"]) if matched["port"] else _PORTS[scheme]
        if not 1 <= port <= 65535:
            raise ValueError(f"contains the port {port}, which does not exist")
        origin = (scheme, matched["host"].lower().strip("[]"), port)
        networks = (_own_network(matched["network"]),) if matched["network"] else ()
        if origin in found and not (networks and found[origin]):
            raise ValueError(f"contains {origin[1]} twice")
        found[origin] = (*found.get(origin, ()), *networks)
    return tuple(UrlHost(*origin, networks) for origin, networks in found.items())


def _own_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"contains {text}, which is not a network, as 10.0.0.0/8 is") from None
    if not any(network.version == own.version and network.subnet_of(own) for own in _OWN_NETWORKS):  # type: ignore[arg-type]
        raise ValueError(f"contains the network {text}, which is not a private one")
    return network
