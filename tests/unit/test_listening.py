"""The socket on which `threadkeeper serve` listens."""

import socket

import pytest

from threadkeeper.cli import _listen


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_connection_does_not_wait_for_acknowledgements(host: str, family: socket.AddressFamily) -> None:
    try:
        listener = _listen(host, 0)
    except SystemExit:
        assert family == socket.AF_INET6, "only IPv6 may be missing on this machine"
        return
    with listener, socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
