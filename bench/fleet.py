"""How many amphorae a controller can have: one process sends as a whole fleet to the real `octavia-health-manager`.

No virtual machines: rows in a MariaDB, and heartbeats as the agent makes them, each with a listener, a pool and ten
members. All of it is in one network namespace, so that the kernel's count of lost datagrams is of these alone.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

from amphora_agent.core.heartbeat.counters import Totals
from amphora_agent.core.heartbeat.document import Document, Pool, Statistics, fit
from amphora_agent.core.heartbeat.schedule import phase_of
from bench import processes
from bench.fleet_ids import MEMBERS, fleet_id
from testbed import octavia_venv
from testbed.mariadb import mariadb
from testbed.namespaces import Namespace
from testbed.waiting import wait_for

SIZES = (100, 1_000, 10_000)
QUICK_SIZES = (1_000,)
INTERVAL = 10.0
# The first interval is not measured; after the others, what was not seen since the first would be replaced.
ROUNDS, QUICK_ROUNDS = 7, 2
STALE_SECONDS = 60
LARGER_BUFFER = 4 << 20
START_SECONDS = 120.0
PORT = 5555
KEY = "insecure"
_ROOT = Path(__file__).parent.parent
_CONFIGURATION = """
[database]
connection = mysql+pymysql://root@localhost/octavia?unix_socket={socket}
[health_manager]
bind_ip = 127.0.0.1
bind_port = {port}
heartbeat_key = {key}
heartbeat_interval = {interval:.0f}
# Nothing is failed over: what is stale is counted instead.
heartbeat_timeout = 86400
sock_rlimit = {buffer}
"""

# A verb of `fleet_database.py` and its value -> the answer.
Ask = Callable[..., dict[str, int]]


@dataclass(frozen=True, slots=True)
class Case:
    """How a fleet sends, and with which `sock_rlimit` the controller listens; 0 leaves the kernel's default."""

    amphorae: int
    has_phase: bool
    buffer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        seconds: measured.
        sent: heartbeats.
        lost: of them, in the socket's buffer.
        counted: of them, whose statistics are in the database.
        stale: amphorae that a controller would replace: not seen for a minute, or for all of a shorter run.
        manager: CPU seconds of all processes of the health manager.
        database: CPU seconds of MariaDB.
    """

    seconds: float
    sent: int
    lost: int
    counted: int
    stale: int
    manager: float
    database: float


def main(sizes: Sequence[int], *, is_quick: bool) -> int:
    """Measure and print one line a case; the exit code is 1 when the controller counted nothing.

    Args:
        sizes: how many amphorae; empty for those of the documentation.
        is_quick: half a minute a case, and the default buffer only.
    """
    sizes = sizes or (QUICK_SIZES if is_quick else SIZES)
    rounds, buffers = (QUICK_ROUNDS, (0,)) if is_quick else (ROUNDS, (0, LARGER_BUFFER))
    python = octavia_venv.install() / "bin" / "python"
    print(HEADER)
    outcomes = []
    for amphorae in sizes:
        with mariadb() as (database_socket, database_pid), database(python, database_socket) as ask:
            ask(make=amphorae)
            for buffer, has_phase in product(buffers, (True, False)):
                case = Case(amphorae, has_phase, buffer)
                with health_manager(python, database_socket, case) as namespace:
                    outcome = measure(case, namespace, database_pid, ask, rounds)
                outcomes.append(outcome)
                print(line_of(case, outcome), flush=True)
    return 0 if all(outcome.counted for outcome in outcomes) else 1


HEADER = """
CPU is that of the health manager and of MariaDB, in milliseconds a beat.

| amphorae | phase | `sock_rlimit` | sent/s | lost | counted/s | stale rows | manager | database |
|---|---|---|---|---|---|---|---|---|"""


def line_of(case: Case, outcome: Outcome) -> str:
    """Return one row of the table."""
    per_beat = 1000 / max(1, outcome.counted)
    return (
        f"| {case.amphorae:,} | {'yes' if case.has_phase else 'no'} | {case.buffer or 'default'} "
        f"| {outcome.sent / outcome.seconds:.0f} | {outcome.lost / outcome.sent:.1%} "
        f"| {outcome.counted / outcome.seconds:.0f} | {outcome.stale:,} "
        f"| {outcome.manager * per_beat:.1f} | {outcome.database * per_beat:.1f} |"
    )


def measure(case: Case, namespace: Namespace, database_pid: int, ask: Ask, rounds: int) -> Outcome:
    """Send for some intervals, the first of which only warms up."""
    with namespace.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", PORT))
        fleet = Fleet(case, sender)
        fleet.send(1)
        manager = namespace.pids()
        ask(begin=True)
        lost, used, kept = lost_datagrams(manager[0]), processes.whole_cpu_seconds(manager), _cpu(database_pid)
        began = time.monotonic()
        fleet.send(rounds)
        seconds = time.monotonic() - began
    seen = ask(look=min(STALE_SECONDS, (rounds - 1) * INTERVAL))
    return Outcome(
        seconds=seconds,
        sent=rounds * case.amphorae,
        lost=lost_datagrams(manager[0]) - lost,
        counted=seen["counted"],
        stale=seen["stale"],
        manager=processes.whole_cpu_seconds(manager) - used,
        database=_cpu(database_pid) - kept,
    )


class Fleet:
    """The heartbeats of all amphorae, each at its place in the interval."""

    def __init__(self, case: Case, sender: socket.socket) -> None:
        phases = (phase_of(fleet_id("amphora", number)) if case.has_phase else 0.0 for number in range(case.amphorae))
        self._beats = sorted((phase, heartbeat(number)) for number, phase in enumerate(phases))
        self._sender = sender

    def send(self, intervals: int) -> None:
        """Send for so many intervals; returns at the end of the last."""
        began = time.monotonic()
        for interval in range(intervals):
            for phase, datagram in self._beats:
                _sleep_until(began + (interval + phase) * INTERVAL)
                self._sender.send(datagram)
        _sleep_until(began + intervals * INTERVAL)


def _sleep_until(due: float) -> None:
    if (left := due - time.monotonic()) > 0:
        time.sleep(left)


def heartbeat(number: int) -> bytes:
    """Return one amphora's datagram: all is well, and one more connection was counted."""
    listener, pool = fleet_id("listener", number), fleet_id("pool", number)
    members = {fleet_id("member", number, member): "UP" for member in range(MEMBERS)}
    document = Document(
        amphora_id=fleet_id("amphora", number),
        seq=number,
        listeners={listener: ("OPEN", Statistics(Totals(bytes_in=100, bytes_out=1000, connections=1), 0))},
        pools={f"{pool}:{listener}": Pool("UP", members)},
    )
    return fit(document, KEY).data


def lost_datagrams(pid: int) -> int:
    """Return how many datagrams the buffers of a process's network namespace had no room for."""
    names, values = (
        line.split() for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    )
    return int(values[names.index("RcvbufErrors")])


def _cpu(pid: int) -> float:
    return processes.whole_cpu_seconds((pid,))


@contextlib.contextmanager
def database(python: Path, database_socket: Path) -> Iterator[Ask]:
    """Yield a function that asks `fleet_database.py`."""
    argv = [str(python), "-W", "ignore", "-m", "bench.fleet_database", str(database_socket)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def ask(**question: float) -> dict[str, int]:
            questions.write(json.dumps(question) + "\n")
            questions.flush()
            answer: dict[str, int] = json.loads(answers.readline())
            return answer

        yield ask
        questions.close()


@contextlib.contextmanager
def health_manager(python: Path, database_socket: Path, case: Case) -> Iterator[Namespace]:
    """Run Octavia's health manager, and yield the namespace it listens in."""
    namespace = Namespace.create("fleet")
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        configuration, log = Path(directory) / "octavia.conf", Path(directory) / "log"
        text = _CONFIGURATION.format(socket=database_socket, port=PORT, key=KEY, interval=INTERVAL, buffer=case.buffer)
        configuration.write_text(text)
        argv = [str(python.with_name("octavia-health-manager")), "--config-file", str(configuration)]
        try:
            namespace.ip("link set lo up")
            with log.open("wb") as output:
                process = _inside(namespace, argv, output)
            try:
                wait_for(
                    lambda: f":{PORT:04X} " in Path(f"/proc/{process.pid}/net/udp").read_text(),
                    log.read_text,
                    seconds=START_SECONDS,
                )
                yield namespace
            except BaseException:
                sys.stderr.write(log.read_text()[-4000:])
                raise
            finally:
                namespace.kill_all()
                process.wait(20)
        finally:
            namespace.close()


def _inside(namespace: Namespace, argv: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["ip", "netns", "exec", namespace.name, *argv], stdout=output, stderr=output)
