"""One amphora's heartbeat side on loopback, for tests: base directory, real HAProxy, real heartbeat process, receiver.

Each `Rig` owns a directory below /tmp (short, since UNIX socket paths are), its ports and its processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from amphora_agent.core.haproxy.process import parse_processes
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import applied_config
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import wait_for

AMPHORA_ID = "000000a1-0000-4000-8000-0000000000a1"
LB_ID = LoadBalancerId("25744ac1-3e34-55a2-8441-e585e4cba268")
KEY = "insecure"
DEFAULTS = """
defaults
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    mode tcp
"""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_receiver(key: str = KEY, port: int = 0) -> HeartbeatReceiver:
    """Return a receiver on a port of 127.0.0.1."""
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    door.bind(("127.0.0.1", port))
    return HeartbeatReceiver(door, key)


def port_of(receiver: HeartbeatReceiver) -> int:
    """Return where a receiver listens."""
    return int(receiver.socket.getsockname()[1])


class Rig:
    """A context manager; everything it started is ended and removed with it."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))  # short paths for sockets
        self.paths: Paths = paths_of(Settings(base_path=str(self.base), base_cert_dir=str(self.base / "certs")))
        self.config_file = self.base / "agent.conf"
        self.log = self.base / "heartbeat.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            end(process)
        shutil.rmtree(self.base, ignore_errors=True)

    def configure(self, destinations: Sequence[str], **options: str) -> None:
        """Write the agent's configuration; `options` replace or (empty) leave out the defaults."""
        values = {"heartbeat_interval": "1", "heartbeat_key": KEY, "amphora_id": AMPHORA_ID, **options}
        lines = [
            "[haproxy_amphora]",
            f"base_path = {self.base}",
            f"base_cert_dir = {self.base}/certs",
            "[health_manager]",
            f"controller_ip_port_list = {', '.join(destinations)}",
            *(f"{key} = {values[key]}" for key in ("heartbeat_interval", "heartbeat_key") if values[key]),
            "[amphora_agent]",
            *([f"amphora_id = {values['amphora_id']}"] if values["amphora_id"] else []),
        ]
        new = self.config_file.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.replace(self.config_file)

    def spawn(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process that ends with the rig; its output goes to the rig's log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
        self._processes.append(process)
        return process

    def start_heartbeat(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the heartbeat process."""
        argv = (sys.executable, "-m", "amphora_agent.cmd.heartbeat", "--config-file", str(self.config_file))
        return self.spawn(argv, environment)

    def logged(self) -> str:
        """Return what every process printed so far."""
        return self.log.read_text()

    def start_haproxy(self, body: str, lb_id: LoadBalancerId = LB_ID, *, has_master: bool = True) -> Haproxy:
        """Start HAProxy with the controller's kind of stats socket and wait until it answers."""
        paths = self.paths
        for directory in (paths.loadbalancer(lb_id).directory, paths.loadbalancer(lb_id).agent):
            directory.mkdir(parents=True, exist_ok=True)
        self.store(body, lb_id)
        master = ["-S", f"{paths.loadbalancer(lb_id).master_socket},mode,600"] if has_master else []
        files = ["-f", str(paths.loadbalancer(lb_id).config), "-p", str(paths.loadbalancer(lb_id).pid)]
        haproxy = Haproxy(self, lb_id, self.spawn(["haproxy", "-Ws", *master, *files]))
        wait_for(haproxy.answers, "HAProxy answers")
        self.record(body, lb_id, haproxy.worker() if has_master else 0)
        return haproxy

    def store(self, body: str, lb_id: LoadBalancerId = LB_ID) -> None:
        """Write the stored configuration."""
        own = self.paths.loadbalancer(lb_id)
        top = f"global\n    stats socket {own.stats_socket} mode 0666 level user\n    maxconn 200\n"
        own.config.write_text(top + DEFAULTS + body)

    def record(self, body: str, lb_id: LoadBalancerId, pid: int) -> None:
        """Write the record of the applied configuration."""
        record = AppliedConfig(config=body, digests={}, worker=ProcessId(pid, process_start_time(pid) or 0))
        self.paths.loadbalancer(lb_id).applied.write_bytes(applied_config.encode(record))


class Haproxy:
    """One running HAProxy of a rig."""

    def __init__(self, rig: Rig, lb_id: LoadBalancerId, process: subprocess.Popen[bytes]) -> None:
        self._rig, self._lb_id, self.process = rig, lb_id, process

    def answers(self) -> bool:
        """Tell whether the stats socket answers."""
        with contextlib.suppress(HostFailure):
            has_pid = self._rig.paths.loadbalancer(self._lb_id).pid.exists()
            return has_pid and query(self._rig.paths.loadbalancer(self._lb_id).stats_socket, "show info", 1.0) != b""
        return False

    def workers(self) -> tuple[int, ...]:
        """Return the workers' pids, the current one first; waits while the master executes itself anew."""
        return wait_for(self._workers, "workers")

    def _workers(self) -> tuple[int, ...]:
        try:
            answer = query(self._rig.paths.loadbalancer(self._lb_id).master_socket, "show proc", 2.0)
        except HostFailure:
            return ()
        processes = parse_processes(answer.decode())
        return tuple(w.pid for w in (*processes.workers, *processes.old_workers)) if processes else ()

    def worker(self) -> int:
        """Return the current worker's pid."""
        return self.workers()[0]

    def reload(self, body: str) -> None:
        """Store another configuration, reload, wait for the new worker and record it."""
        before = self.worker()
        self._rig.store(body, self._lb_id)
        self.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: self.worker() != before, "another worker")
        wait_for(self.answers, "HAProxy answers")
        self._rig.record(body, self._lb_id, self.worker())

    def kill(self) -> None:
        """Kill master and workers."""
        for pid in (self.process.pid, *self.workers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def end(process: subprocess.Popen[bytes]) -> int:
    """End a process, whatever state it is in, and return its exit code."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(5)
