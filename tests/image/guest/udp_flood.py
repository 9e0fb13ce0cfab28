"""Clients of a UDP listener, DNS-like: small numbered queries, each answered by whichever member it reached.

    udp_flood.py NOTES ADDRESS PORT PER_SECOND SECONDS STEADY

Of four queries two come from a port that no query used before, as a resolver's do; two from one of STEADY ports that
never change, as a stub's or a tunnel's: numbers 1 and 2 modulo 4. Lost time is not made up for. Stops after SECONDS, or
when NOTES.stop appears. NOTES gets the 8-byte number of every query that was answered. Prints
`{"sent": queries, "answered": replies, "twice": repeated replies}`.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import resource
import select
import socket
import struct
import sys
import time
from pathlib import Path

TICK = 0.005
# How long a query waits for its answer; on an idle machine it takes a millisecond.
PATIENCE = 2.0
PADDING = b"." * 24
# More do not wait at a time: a machine without time for its clients would lose answers in their sockets.
WAITING = 128
FIRST_PORT = 1024


class Flood:
    """Open sockets and what came back on them."""

    def __init__(self, address: str, port: int, steady: int) -> None:
        self.server = (address, port)
        self.poll = select.epoll()
        self.clients: dict[int, socket.socket] = {}
        self.fresh: collections.deque[tuple[float, int]] = collections.deque()
        self.answered: set[int] = set()
        self.waiting: dict[int, float] = {}
        self.sent = self.twice = 0
        self.ports = itertools.count(FIRST_PORT)
        self.steady = [self.open() for _ in range(steady)]

    def open(self) -> socket.socket:
        """Return a new client with a port that none had before."""
        client = socket.socket(socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.bind(("", next(self.ports)))
        client.connect(self.server)
        self.clients[client.fileno()] = client
        self.poll.register(client, select.EPOLLIN)
        return client

    def send(self, now: float) -> None:
        """Send the next query."""
        self.waiting[self.sent] = now + PATIENCE
        if self.sent % 4 in {1, 2}:
            client = self.steady[self.sent // 2 % len(self.steady)]
        else:
            client = self.open()
            self.fresh.append((now + PATIENCE, client.fileno()))
        # A refused connection is an answer's absence, seen in the count.
        with contextlib.suppress(ConnectionRefusedError):
            client.send(struct.pack("!Q", self.sent) + PADDING)
        self.sent += 1

    def listen(self, seconds: float) -> None:
        """Take in answers for some time, then close the ports of queries that waited long enough."""
        for descriptor, _ in self.poll.poll(seconds):
            self.read(self.clients[descriptor])
        now = time.monotonic()
        while self.fresh and self.fresh[0][0] < now:
            client = self.clients.pop(self.fresh.popleft()[1])
            self.read(client)
            client.close()
        self.waiting = {number: end for number, end in self.waiting.items() if end > now}

    def read(self, client: socket.socket) -> None:
        """Take in what waits at one client."""
        while True:
            try:
                number = struct.unpack_from("!Q", client.recv(2048))[0]
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            self.twice += number in self.answered
            self.answered.add(number)
            self.waiting.pop(number, None)


def main() -> None:
    """Send, listen, report."""
    notes, rate, seconds = Path(sys.argv[1]), float(sys.argv[4]), float(sys.argv[5])
    stop = notes.with_name(notes.name + ".stop")
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    flood = Flood(sys.argv[2], int(sys.argv[3]), int(sys.argv[6]))
    due = began = time.monotonic()
    while (now := time.monotonic()) < began + seconds and not stop.exists():
        due = max(due, now - 10 * TICK)
        while due <= now and len(flood.waiting) < WAITING:
            flood.send(now)
            due += 1 / rate
        flood.listen(TICK)
    while flood.waiting:
        flood.listen(TICK)
    notes.write_bytes(b"".join(struct.pack("!Q", number) for number in sorted(flood.answered)))
    sys.stdout.write(json.dumps({"sent": flood.sent, "answered": len(flood.answered), "twice": flood.twice}))


if __name__ == "__main__":
    main()
