"""Member changes through the whole agent: connections live on, no worker is replaced, the file stays the truth."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.operations.haproxy import removals
from testbed.amphora import LB_ID
from testbed.namespaces import Namespace
from testbed.scenario import MEMBER_PORT, VIP, Scenario
from testbed.web_server import get

TCP = "haproxy/02-tcp-leastconn-tcp-monitor.cfg"
CONNECTIONS = 500
CHANGES = 200
# HAProxy's pools have grown to what the load needs after so many changes; from then on nothing may grow.
WARM = 20
# HAProxy 2.6 may delete a server only minutes after its removal; until then it keeps the server's memory.
SERVER_KB = 8


class LongLived:
    """A tenant's connection that is used once in a while and must never be closed."""

    def __init__(self, clients: Namespace, port: int) -> None:
        self._connection = http.client.HTTPConnection(VIP, port, timeout=20)
        self._connection.sock = clients.connect(VIP, port, timeout=20)
        self.local = self._connection.sock.getsockname()

    def ask(self) -> str:
        """Return who answers; a closed connection would be another one afterwards, so it is an error."""
        assert self._connection.sock is not None, "the connection was closed"
        self._connection.request("GET", "/")
        answer = self._connection.getresponse().read().decode()
        assert self._connection.sock is not None, "the connection was closed"
        assert self._connection.sock.getsockname() == self.local
        return answer

    def close(self) -> None:
        """End it."""
        self._connection.close()


def member_lines(config: str, lines: list[str]) -> str:
    kept = [line for line in config.splitlines() if not line.strip().startswith("server ")]
    while kept and not kept[-1].strip():
        kept.pop()
    return "\n".join([*kept, *lines]) + "\n"


def member(number: int, *, weight: int = 1, extra: str = "") -> str:
    """Every member is one of the two web servers under another id; what differs is what HAProxy has to learn."""
    address = ("10.20.0.11", "10.20.0.12")[number % 2]
    return f"    server m{number} {address}:{MEMBER_PORT} weight {weight} check inter 5s fall 3 rise 2{extra}"


def edits() -> Iterator[list[str]]:
    """Two hundred different sets of members: growing, weights, disabled ones, all gone; an id never comes back."""
    for step in range(CHANGES):
        members = [member(0), member(1)]
        first = 10 * (1 + step // 7)
        members += [member(first + n, weight=1 + (step + n) % 5) for n in range(step % 7)]
        if step % 3 == 0:
            members.append(member(10_000 + step, extra=" disabled" if step % 2 else ""))
        yield members


def outcome(plugged: Scenario) -> dict[str, int]:
    changes = plugged.amphora.request("GET", "/1.0/details").json()["changes"]["counts"]
    assert isinstance(changes, dict)
    return changes


def workers(plugged: Scenario) -> set[int]:
    master = int((plugged.amphora.base / LB_ID / f"{LB_ID}.pid").read_text().split()[0])
    return set(plugged.amphora.netns.pids()) - {master}


def rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_long_lived_connections_survive_two_hundred_member_changes(plugged: Scenario) -> None:
    # An idle connection ends by the tenant's own timeout otherwise.
    config = (
        plugged.amphora.sample(TCP)
        .replace("timeout client 50000", "timeout client 600000")
        .replace("timeout server 50000", "timeout server 600000")
    )
    port = int(config.partition("bind 10.10.0.100:")[2].split()[0])
    plugged.apply(member_lines(config, [member(0), member(1)]))
    before = workers(plugged)
    assert len(before) == 1
    failures: list[str] = []
    answered = 0
    stop = threading.Event()

    def load() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                assert get(plugged.clients, VIP, port) in ("web1", "web2")
                answered += 1
            except (OSError, AssertionError) as error:
                failures.append(str(error))

    with contextlib.ExitStack() as stack:
        connections = [LongLived(plugged.clients, port) for _ in range(CONNECTIONS)]
        for connection in connections:
            stack.callback(connection.close)
            connection.ask()
        memory = 0
        thread = threading.Thread(target=load)
        thread.start()
        try:
            for number, lines in enumerate(edits()):
                plugged.apply(member_lines(config, lines))
                if number == WARM:
                    memory = rss(next(iter(before)))
        finally:
            stop.set()
            thread.join()
        counts = outcome(plugged)
        assert counts.get("reload", 0) == 0, plugged.amphora.log[-4000:]
        assert workers(plugged) == before, "no worker was replaced"
        for connection in connections:
            assert connection.ask() in ("web1", "web2")
        waiting = removals.read(plugged.amphora.base / "agent" / LB_ID / "removing.json")
        servers = sum(len(names) for names in waiting.values())
        assert rss(next(iter(before))) <= memory * 1.05 + servers * SERVER_KB
    assert failures == []
    assert answered > CHANGES
    assert counts["runtime"] >= CHANGES - 5


def test_the_file_is_the_truth_after_a_crash(plugged: Scenario) -> None:
    """Runtime changes live in memory: HAProxy killed right after one comes back with it."""
    config = plugged.amphora.sample(TCP)
    port = int(config.partition("bind 10.10.0.100:")[2].split()[0])
    plugged.apply(member_lines(config, [member(0)]))
    plugged.apply(member_lines(config, [member(1)]))
    assert outcome(plugged) == {"start": 1, "runtime": 1}
    assert {plugged.get(port=port) for _ in range(4)} == {"web2"}
    before = set(plugged.amphora.netns.pids())
    os.kill(int((plugged.amphora.base / LB_ID / f"{LB_ID}.pid").read_text().split()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            if not before & set(plugged.amphora.netns.pids()) and plugged.get(port=port, timeout=1.0) == "web2":
                break
        assert time.monotonic() < deadline
    assert {plugged.get(port=port) for _ in range(4)} == {"web2"}


def test_a_crash_after_a_runtime_change_makes_the_next_ones_reloads(plugged: Scenario) -> None:
    config = plugged.amphora.sample(TCP)
    plugged.apply(member_lines(config, [member(0)]))
    plugged.apply(member_lines(config, [member(0), member(1)]))
    for pid in workers(plugged):
        os.kill(pid, signal.SIGKILL)
    plugged.apply(member_lines(config, [member(0), member(2)]))
    plugged.apply(member_lines(config, [member(0), member(3)]))
    details = plugged.amphora.request("GET", "/1.0/details").json()["changes"]
    assert details["last"][LB_ID]["kind"] == "reload"
    assert "ended soon" in details["last"][LB_ID]["reason"]


def test_the_switch(plugged: Scenario) -> None:
    config = plugged.amphora.sample(TCP)
    plugged.apply(member_lines(config, [member(0)]))
    text = plugged.amphora.config_file.read_text() + "\n[amphora_agent]\nruntime_changes = false\n"
    assert plugged.amphora.request("PUT", "/1.0/config", text).status == 202
    plugged.apply(member_lines(config, [member(0), member(1)]))
    last = plugged.amphora.request("GET", "/1.0/details").json()["changes"]["last"][LB_ID]
    assert last["kind"] == "reload"
