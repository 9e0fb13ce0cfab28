"""amphora-health-checker against a scripted SCTP member: raw packets in a namespace of its own, without kernel SCTP."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.cmd import health_checker
from testbed.namespaces import Namespace
from testbed.waiting import wait_for

MODULE = Path(health_checker.__file__)
SCTP = 132
PORT = 3868
HEADER, CHUNK = struct.Struct("!HHII"), struct.Struct("!BBH")
INIT, INIT_ACK, ABORT, COOKIE_ACK = 1, 2, 6, 11
ADDRESSES = ("127.0.0.1", "::1")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")


def reference_crc32c(data: bytes) -> int:
    """The checksum by its definition: division of polynomials, most significant bit first, everything reflected."""
    message = int.from_bytes(data, "little") ^ 0xFFFFFFFF
    for _ in range(len(data) * 8):
        message = message >> 1 ^ (0x82F63B78 if message & 1 else 0)
    return message ^ 0xFFFFFFFF


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create("sctp")
    yield made
    made.close()


class Member(threading.Thread):
    """Answers each INIT with one chunk; remembers what it got."""

    def __init__(self, namespace: Namespace, address: str, answer: int | None, *, skew: int = 0) -> None:
        super().__init__(daemon=True)
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.raw = namespace.open_socket(self.family, socket.SOCK_RAW, SCTP)
        self.answer, self.skew = answer, skew
        self.inits: list[bytes] = []
        self.aborts: list[bytes] = []
        self.start()

    def run(self) -> None:
        """Serve until the namespace is gone."""
        while True:
            try:
                data, sender = self.raw.recvfrom(65535)
            except OSError:
                return
            packet = data if self.family == socket.AF_INET6 else data[20:]
            source, port, _, _ = HEADER.unpack_from(packet)
            if port != PORT:
                continue
            if packet[HEADER.size] == ABORT:
                self.aborts.append(packet)
                continue
            self.inits.append(packet)
            if self.answer is not None:
                tag = int.from_bytes(packet[16:20], "big")
                chunk = CHUNK.pack(self.answer, 0, CHUNK.size)
                self.raw.sendto(HEADER.pack(PORT + self.skew, source, tag, 0) + chunk, (sender[0], 0))


def run(namespace: Namespace, *arguments: str) -> int:
    argv = ["nsenter", f"--net={namespace.path}", sys.executable, "-IS", str(MODULE), *arguments]
    return subprocess.run(argv, env={}, check=False, timeout=20, capture_output=True).returncode


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("answer", "status"), [(INIT_ACK, 0), (ABORT, 1), (COOKIE_ACK, 3)])
def test_first_chunk_decides(namespace: Namespace, address: str, answer: int, status: int) -> None:
    member = Member(namespace, address, answer)
    assert run(namespace, "sctp", "-t", "3", address, str(PORT)) == status
    if answer != ABORT:
        wait_for(lambda: member.aborts, "a kernel without SCTP cannot end what we began")
    assert len(member.aborts) == (answer != ABORT)
    (init,) = member.inits
    assert HEADER.unpack_from(init)[2] == 0, "an INIT has no verification tag"
    kind, flags, length = CHUNK.unpack_from(init, HEADER.size)
    tag, window, outbound, inbound, _ = struct.unpack_from("!IIHHI", init, HEADER.size + CHUNK.size)
    assert (kind, flags, length, window, outbound, inbound) == (INIT, 0, 20, 106496, 10, 65535)
    assert tag > 0
    for packet in (init, *member.aborts):
        bare = packet[:8] + bytes(4) + packet[12:]
        assert struct.unpack_from("<I", packet, 8)[0] == reference_crc32c(bare)
    if answer != ABORT:
        (abort,) = member.aborts
        assert HEADER.unpack_from(abort)[2] == tag
        assert CHUNK.unpack_from(abort, HEADER.size) == (ABORT, 1, 4)


@pytest.mark.parametrize("address", ADDRESSES)
def test_silence_is_a_timeout(namespace: Namespace, address: str) -> None:
    Member(namespace, address, None)
    began = time.monotonic()
    assert run(namespace, "sctp", "-t", "1", address, str(PORT)) == 2
    assert 1 <= time.monotonic() - began < 3


def test_answer_from_another_port_is_not_ours(namespace: Namespace) -> None:
    Member(namespace, "127.0.0.1", INIT_ACK, skew=1)
    assert run(namespace, "sctp", "-t", "1", "127.0.0.1", str(PORT)) == 2


def test_unreachable_member_fails(namespace: Namespace) -> None:
    assert run(namespace, "sctp", "-t", "1", "192.0.2.1", str(PORT)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("udp", "127.0.0.1", "1"),
        ("sctp",),
        ("sctp", "-t"),
        ("sctp", "-t", "x", "127.0.0.1", "1"),
        ("sctp", "127.0.0.1"),
        ("sctp", "127.0.0.1", "0"),
        ("sctp", "127.0.0.1", "65536"),
        ("sctp", "host.invalid", "1"),
        ("sctp", "127.0.0.1", "1", "2"),
    ],
)
def test_wrong_usage_is_a_failure(namespace: Namespace, arguments: tuple[str, ...]) -> None:
    assert run(namespace, *arguments) == 1
