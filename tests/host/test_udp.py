"""Datagrams on loopback: they arrive whole, and a closed port is noticed without an error for the next one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.udp import Resolver, UdpSender
from testbed.waiting import wait_for


@pytest.fixture
def sender() -> Iterator[UdpSender]:
    made = UdpSender()
    yield made
    made.close()


def bound(family: socket.AddressFamily, host: str) -> socket.socket:
    door = socket.socket(family, socket.SOCK_DGRAM)
    door.settimeout(5)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    door.bind((host, 0))
    return door


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_largest_datagram_arrives(sender: UdpSender, family: socket.AddressFamily, host: str) -> None:
    with bound(family, host) as door:
        address = Resolver().resolve(host, door.getsockname()[1])
        assert address is not None
        sender.send(address, b"x" * 65507)
        assert len(door.recv(65536)) == 65507
        with pytest.raises(HostFailure, match="cannot send"):
            sender.send(address, b"x" * 65536)
        sender.send(address, b"next")
        assert door.recv(100) == b"next"
    assert sender.refusals() == frozenset()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_closed_port_is_reported_and_stops_no_other(
    sender: UdpSender, family: socket.AddressFamily, host: str
) -> None:
    with bound(family, host) as door, bound(family, host) as closed:
        port = closed.getsockname()[1]
        closed.close()
        resolver = Resolver()
        address, other = resolver.resolve(host, port), resolver.resolve(host, door.getsockname()[1])
        assert address is not None
        assert other is not None
        sender.send(address, b"lost")
        sender.send(other, b"heard")
        assert door.recv(100) == b"heard"
        sender.send(address, b"lost")
        refused = sender.refusals()
        assert refused == {(host, port)}
        assert sender.refusals() == frozenset()


def test_names_are_looked_up_aside() -> None:
    resolver = Resolver()
    assert resolver.resolve("no-such-host.invalid", 1) is None
    assert resolver.resolve("x" * 300, 1) is None
    assert resolver.resolve("localhost", 5555) is None, "the caller waits for no name server"
    assert wait_for(lambda: resolver.resolve("localhost", 5555), "the name is looked up")[1] == 5555
