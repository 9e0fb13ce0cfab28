"""An amphora inside this process: operations called directly, with real HAProxy in a namespace of its own, no HTTP.

    with Workbench() as bench:
        bench.upload(bench.sample("haproxy/01-http-basic.cfg"))
        assert bench.act(Action.START).started

A flow takes some hundredths of a second so, where the whole agent over mutual TLS takes some tenths. Needs root,
iproute2, util-linux and HAProxy.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from amphora_agent.core.haproxy.config import peer_name
from amphora_agent.core.ids import LoadBalancerId, PemName
from amphora_agent.core.paths import LoadBalancerPaths, Paths, paths_of
from amphora_agent.host.haproxy import processes
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.network import netns
from amphora_agent.host.procfs import read_pid
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations import certificates, startup
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import follow, store
from amphora_agent.operations.haproxy.follow import Performed
from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES
from testbed.namespaces import Namespace, unique

LB = LoadBalancerId(LB_ID)
ADDRESS = "10.10.0.100"
ASK_SECONDS = 5.0


@dataclass(slots=True)
class Workbench:
    """One load balancer on one amphora; leaves nothing behind on exit.

    Args:
        lb_id: the load balancer.
        haproxy: path of the HAProxy to use, empty for the installed one.
    """

    lb_id: LoadBalancerId = LB
    haproxy: str = ""
    amphora: Amphora = field(init=False)
    netns: Namespace = field(init=False)
    directory: Path = field(init=False)

    def __enter__(self) -> Self:
        # pytest's own directories are too deep for the path of a socket.
        self.directory = Path(tempfile.mkdtemp(prefix="amphora-"))
        self.directory.chmod(0o755)  # HAProxy's worker is `nobody`
        self.netns = Namespace(unique("amphora"))
        try:
            self.amphora = self._amphora()
            startup.prepare(self.amphora)
            netns.ensure(self.paths.netns)
            netns.apply_settings(self.paths.netns)
            self.netns.ip(f"address add {ADDRESS}/32 dev lo")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End HAProxy and remove everything."""
        self.netns.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def paths(self) -> Paths:
        """All files of the amphora."""
        return self.amphora.paths

    @property
    def own(self) -> LoadBalancerPaths:
        """The files of the load balancer."""
        return self.paths.loadbalancer(self.lb_id)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Change]:
        """Begin a change."""
        with self.amphora.changing() as change:
            yield change

    def upload(self, text: str) -> None:
        """Store a configuration as the controller's upload does."""
        with self.changing() as change:
            store.upload(change, peer_name(AMPHORA_ID), self.lb_id, text.encode())

    def act(self, action: Action) -> Performed:
        """Start, reload or stop."""
        with self.changing() as change:
            return follow.perform(change, self.lb_id, action)

    def apply(self, text: str) -> Performed:
        """Upload and reload, as the controller does at every change."""
        self.upload(text)
        return self.act(Action.RELOAD)

    def store_certificate(self, name: str, body: bytes) -> Path:
        """Store a certificate file and return where it is."""
        with self.changing() as change:
            certificates.store(change, self.lb_id, PemName(name), body)
        return self.own.cert(PemName(name))

    def sample(self, name: str) -> str:
        """Return a sample of the controller, with the paths of this amphora."""
        text = (SAMPLES / name).read_text().replace("/var/lib/octavia", str(self.paths.base))
        return text.replace("tune.ssl.cachesize", "# tune.ssl.cachesize")

    def master(self) -> int | None:
        """Return HAProxy's master."""
        return read_pid(self.own.pid)

    def masters(self) -> tuple[int, ...]:
        """Return every HAProxy that runs the stored configuration, workers left out."""
        return processes.find(self.own.config, self.paths.netns)

    def connect(self, port: int = 80) -> socket.socket:
        """Return a connection to the VIP; OSError when it is refused."""
        connection = self.netns.open_socket()
        try:
            connection.settimeout(ASK_SECONDS)
            connection.connect((ADDRESS, port))
        except OSError:
            connection.close()
            raise
        return connection

    def accepts(self) -> bool:
        """Tell whether the VIP accepts connections."""
        with contextlib.suppress(OSError):
            self.connect().close()
            return True
        return False

    def ask(self, command: str) -> str:
        """Return HAProxy's answer to a command of the runtime API."""
        return query(self.own.admin_socket, command, ASK_SECONDS).decode()

    def worker(self) -> int:
        """Return the worker that serves."""
        lines = dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if ": " in line)
        return int(lines["Pid"])

    def members(self) -> dict[str, str]:
        """Return the administrative state of each server: member id -> the number in `show servers state`."""
        rows = [line.split() for line in self.ask("show servers state").splitlines()[2:]]
        return {row[3]: row[6] for row in rows if len(row) > 6}

    def _amphora(self) -> Amphora:
        config = self.directory / "amphora-agent.conf"
        config.write_text(
            f"""[haproxy_amphora]
base_path = {self.directory}/octavia
base_cert_dir = {self.directory}/octavia/certs
haproxy_cmd = {self.haproxy or shutil.which("haproxy") or "/usr/sbin/haproxy"}
[amphora_agent]
agent_server_network_dir = {self.directory}/interfaces
agent_server_cert = {self.directory}/server.pem
agent_server_ca = {self.directory}/client_ca.pem
netns = {self.netns.name}
supervisor = direct
[controller_worker]
loadbalancer_topology = SINGLE
"""
        )
        settings_file = SettingsFile(config)
        started = settings_file.current()
        paths = paths_of(started)
        paths.base.mkdir()
        paths.user_group.write_text("global\n    group nogroup\n")
        supervisor = DirectSupervisor(paths.agent / "units")
        return Amphora(settings_file=settings_file, started=started, paths=paths, supervisor=supervisor)
