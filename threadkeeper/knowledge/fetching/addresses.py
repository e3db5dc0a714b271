"""Which addresses may be connected to. They are checked when a socket is made, after all names are resolved."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from threadkeeper.knowledge.fetching.hosts import Network

_NAT64 = ip_network("64:ff9b::/96")

SocketFactory = Callable[[Any], socket.socket]


class AddressRefused(OSError):
    """The address is not one to connect to."""


# Where clouds give the credentials of their machines away, beside link-local addresses: Alibaba, Azure, Oracle, AWS.
# Some are in private networks that can be listed, and some count as public.
_OF_CLOUDS = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is in the public internet, and so are all addresses that it contains."""
    if inner := _inner(address):
        return all(map(is_public, inner))
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified
    return address.is_global and not (special or address.is_multicast or address.is_reserved)


def _inner(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The addresses that an IPv6 address contains."""
    if isinstance(address, IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]


def may_connect(text: str, networks: Sequence[Network]) -> bool:
    """Whether an address is public; with networks, whether it is in one of them. Those of clouds never are."""
    # A scope, as in fe80::1%eth0, would make the same address another one.
    address = ip_address(text.partition("%")[0])
    if _OF_CLOUDS.intersection((address, *_inner(address))):
        return False
    if not networks:
        return is_public(address)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in networks)


def guarded_sockets(networks: Sequence[Network]) -> SocketFactory:
    """Makes the sockets of a connector (`socket_factory` of aiohttp). Raises AddressRefused within the connector."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if not may_connect(str(address[0]), networks):
            # The same text for all addresses of a name: aiohttp then raises the error as it is.
            raise AddressRefused("the address is not allowed")
        return socket.socket(family, kind, protocol)

    return make
