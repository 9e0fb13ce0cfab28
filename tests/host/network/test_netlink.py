"""Waiting for the kernel's events, in a process with many descriptors. Links and addresses: `tests/system/network`."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import socket
from collections.abc import Iterator

import pytest

from amphora_agent.host.network.netlink import wait_for_events

# select(2) takes none above 1023.
HIGH = 1100


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets; the first has a high number and does not block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HIGH + 100), max(hard, HIGH + 100)))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        low, other = (stack.enter_context(each) for each in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        high = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, HIGH))
        stack.enter_context(high)
        high.setblocking(False)
        yield high, other


def test_high_descriptors_are_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    events, other = pair
    assert not wait_for_events((events, None), 0.01)
    other.send(b"event")
    other.send(b"another")
    assert wait_for_events((None, events), 60)
    assert not wait_for_events((events,), -1.0), "events are forgotten"


def test_no_socket_is_a_pause() -> None:
    assert not wait_for_events((None,), 0.01)
