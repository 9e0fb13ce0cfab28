"""A DNS-like flood through a VIP: started inside the machine, reckoned up afterwards reply by reply."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.image.listener import MEMBER_PORT, VIP, Member
from tests.image.machine import GUEST_DIRECTORY, Running, VirtualMachine

PER_SECOND = 200
STEADY_PORTS = 200
LONGEST = 420.0
_ANSWERED = "/run/answered"
_RECEIVED = "/run/received"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of every query.

    Attributes:
        sent: queries sent.
        answered: query -> host number of the member that answered it.
        received: queries whose answer arrived.
        twice: answers that arrived once more.
    """

    sent: int
    answered: dict[int, int]
    received: frozenset[int]
    twice: int

    @property
    def lost_replies(self) -> dict[int, int]:
        """Query -> host number of the member whose answer never arrived."""
        return {query: host for query, host in self.answered.items() if query not in self.received}

    @property
    def lost_queries(self) -> tuple[int, ...]:
        """Queries that no member answered."""
        return tuple(query for query in range(self.sent) if query not in self.answered)

    def __str__(self) -> str:
        lost = Counter("steady" if is_steady(query) else "fresh" for query in self.lost_replies)
        missed = Counter("steady" if is_steady(query) else "fresh" for query in self.lost_queries)
        return (
            f"{self.sent} queries, {len(self.answered)} answered by {dict(Counter(self.answered.values()))}; "
            f"replies lost: {dict(lost)}, queries lost: {dict(missed)}"
        )


def is_steady(query: int) -> bool:
    """Tell whether the query came from a port that never changes; the others each from a port of their own."""
    return query % 4 in {1, 2}


@dataclass(slots=True)
class Flood:
    """A flood that runs until `stop()`."""

    machine: VirtualMachine
    hosts: tuple[int, ...]
    _clients: Running

    def stop(self) -> Outcome:
        """End it and return what became of every query."""
        self.machine.exec(["touch", f"{_RECEIVED}.stop"])
        report = json.loads(self._clients.finish(timeout=60))
        answered = _read(self.machine, _ANSWERED)
        return Outcome(
            sent=report["sent"],
            answered={query: self.hosts[number] for query, number in struct.iter_unpack("!QB", answered)},
            received=frozenset(query for (query,) in struct.iter_unpack("!Q", _read(self.machine, _RECEIVED))),
            twice=report["twice"],
        )


@contextlib.contextmanager
def udp_servers(machine: VirtualMachine, addresses: Sequence[str], notes: str = "/dev/null") -> Iterator[Running]:
    """Have one process of UDP servers at these addresses; closing what is yielded kills it."""
    server = begin(machine, "members", "udp_server.py", notes, str(MEMBER_PORT), *addresses)
    last = addresses[-1]
    try:
        machine.wait_for(lambda: last in machine.inside("members", ["ss", "-Hlun"]), 20, "the members")
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def flooding(machine: VirtualMachine, members: Sequence[Member], port: int) -> Iterator[Flood]:
    """Have members that answer and clients that ask VIP:port; use `stop()` before the block ends."""
    arguments = (_RECEIVED, VIP, str(port), str(PER_SECOND), str(LONGEST), str(STEADY_PORTS))
    machine.exec(["rm", "-f", _ANSWERED, _RECEIVED, f"{_RECEIVED}.stop"])
    with udp_servers(machine, [member.address for member in members], _ANSWERED):
        clients = begin(machine, "client", "udp_flood.py", *arguments)
        try:
            machine.wait_for(lambda: _size(machine, _ANSWERED) > 9 * PER_SECOND, 20, "the flood to flow")
            yield Flood(machine, tuple(member.host for member in members), clients)
        finally:
            clients.close()


def begin(machine: VirtualMachine, namespace: str, program: str, *arguments: str) -> Running:
    """Start one of the guest's own programs in a namespace."""
    path = f"{GUEST_DIRECTORY}/{program}"
    return machine.begin(["ip", "netns", "exec", namespace, "/usr/bin/python3", path, *arguments])


def answers(machine: VirtualMachine, port: int) -> bool:
    """Tell whether any of a few queries to VIP:port is answered."""
    probe = begin(machine, "client", "udp_flood.py", "/run/probed", VIP, str(port), "20", "0.3", "1")
    return bool(json.loads(probe.finish())["answered"])


def _size(machine: VirtualMachine, path: str) -> int:
    code, output = machine.begin(["stat", "--format=%s", path]).outcome()
    return int(output) if code == 0 else 0


def _read(machine: VirtualMachine, path: str) -> bytes:
    return base64.b64decode(machine.exec(["base64", "--wrap=0", path]))
