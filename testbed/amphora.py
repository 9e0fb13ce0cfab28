"""A whole amphora on this machine: the agent as installed, in namespaces of its own, driven over mutual TLS.

    with RunningAmphora() as amphora:
        members = amphora.network("net")                                   # a namespace on the tenant's side
        amphora.add_nic("fa:16:3e:00:00:02", members, "10.20.0.1/24")      # a NIC is hot-plugged
        reply = amphora.request("POST", "/1.0/plug/network", document={...})
        assert reply.status == 202, reply

What belongs to one amphora, all named uniquely, so that many run at once:

    client (namespace)  192.0.2.1 ---- 192.0.2.2  management (namespace): agent, heartbeat, NICs not yet plugged
                                                  `netns` (made by the agent): eth1, eth2, HAProxy
    directory           etc/ (amphora-agent.conf, certs/, interfaces/), octavia/ (= base_path), agent.log

With `image=True` the agent finds all of it where an image has it (/etc/octavia, /var/lib/octavia, the namespace
`amphora-haproxy`), in mounts that nobody else sees.

The agent sees a 1 GB machine, an empty resolv.conf, a hosts file with its own name, and a PCI bus that does not exist
(`pci_rescans` counts what it asks of it). Nothing of the machine's own is changed. Needs root, iproute2 and util-linux.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from testbed.namespaces import Namespace, ip_batch, unique
from testbed.pki import Pki, client_context
from testbed.waiting import wait_for

SAMPLES = Path(__file__).parent / "samples"
AMPHORA_ID = "badf474f-b45d-5d8b-80bb-35dbe5e8281e"
LB_ID = "25744ac1-3e34-55a2-8441-e585e4cba268"
CLIENT_ADDRESS = "192.0.2.1"
AGENT_ADDRESS = "192.0.2.2"
AGENT_PORT = 9443
HEARTBEAT_PORT = 5555
HEARTBEAT_KEY = "insecure"
START_SECONDS = 20.0

_MEMINFO = """MemTotal:        1006528 kB
MemFree:          611264 kB
MemAvailable:     803840 kB
Buffers:           20480 kB
Cached:           225280 kB
SwapCached:            0 kB
Active:           184320 kB
Inactive:         102400 kB
SwapTotal:             0 kB
SwapFree:              0 kB
Shmem:              1024 kB
Slab:              40960 kB
SReclaimable:      24576 kB
SUnreclaim:        16384 kB
"""

# Mounts of its own, but `ip netns add` inside must be seen outside: only what is mounted upon is made private.
_HOLDER = """set -e
for place in / /proc /sys /run /etc/hosts /etc/resolv.conf; do mount --make-private "$place" 2>/dev/null || true; done
mount -t sysfs sysfs /sys
eval "$2"
for file in /proc/meminfo /etc/resolv.conf /etc/hosts /sys/bus/pci/rescan; do
    [ ! -e "$file" ] || mount --bind "$1/machine/${file##*/}" "$file"
done
echo ready
exec sleep infinity
"""
_IMAGE = """
for place in etc var/lib var/log usr/lib/systemd usr/local/bin; do
    layer="$1/overlay/$place"
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$layer/upper,workdir=$layer/work" "/$place"
done
mkdir -p /etc/octavia /var/lib/octavia /run/netns
mount --bind "$1/etc" /etc/octavia
mount --bind "$1/octavia" /var/lib/octavia
mount --make-private /run/netns
mount -t tmpfs tmpfs /run/netns
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body, whatever its type."""
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class RunningAmphora:
    """One amphora; a context manager that starts it on entry and leaves nothing behind on exit.

    Args:
        amphora_id: name in the server certificate and in heartbeats.
        topology: SINGLE or ACTIVE_STANDBY.
        options: section -> option -> value, laid over the configuration below.
        heartbeats: False passes `--no-heartbeat`.
        command: the agent; the configuration file is appended.
        path: directories that everything on the amphora looks in before the machine's own.
        image: True gives the agent the paths and names of an image; one at a time should do so.
        started: False makes the machine but leaves the agent off until `start()`.
        name: what the names of all namespaces start with; empty for unique ones.
        place: an existing directory to use, which its owner removes; None for a temporary one.
    """

    amphora_id: str = AMPHORA_ID
    topology: str = "SINGLE"
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    heartbeats: bool = True
    command: Sequence[str] = (str(Path(sys.executable).parent / "amphora-agent"), "--config-file")
    path: Sequence[str] = (str(Path(sys.executable).parent),)
    image: bool = False
    started: bool = True
    name: str = ""
    place: Path | None = None

    directory: Path = field(init=False)
    client: Namespace = field(init=False)
    management: Namespace = field(init=False)
    netns: Namespace = field(init=False)
    context: ssl.SSLContext = field(init=False)
    agent: subprocess.Popen[bytes] | None = field(init=False, default=None)
    start_seconds: float = field(init=False, default=0.0)
    _networks: list[Namespace] = field(init=False, default_factory=list)
    _holder: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _nics: int = field(init=False, default=0)

    def __enter__(self) -> Self:
        self.directory = self.place or Path(tempfile.mkdtemp(prefix="amphora-"))
        # HAProxy's worker is `nobody` and runs the PING check from below here.
        self.directory.chmod(0o755)
        try:
            self._make_machine()
            if self.started:
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base(self) -> Path:
        """What the agent calls base_path."""
        return self.directory / "octavia"

    @property
    def cert_dir(self) -> Path:
        """What the agent calls base_cert_dir."""
        return self.base / "certs"

    @property
    def interfaces(self) -> Path:
        """Where the interface files are."""
        return self.directory / "etc" / "interfaces"

    @property
    def config_file(self) -> Path:
        """The agent's configuration."""
        return self.directory / "etc" / "amphora-agent.conf"

    @property
    def pki_dir(self) -> Path:
        """ca.pem, server.pem (the agent's own) and client.pem (the controller's)."""
        return self.directory / "etc" / "certs"

    @property
    def api_socket(self) -> Path:
        """Where programs of the machine reach the agent."""
        return self.directory / "api.sock"

    @property
    def log(self) -> str:
        """All that the agent and its children printed so far."""
        return (self.directory / "agent.log").read_text(errors="replace")

    @property
    def pci_rescans(self) -> int:
        """1 once the agent asked for a rescan of the PCI bus."""
        return len((self.directory / "machine" / "rescan").read_text().split())

    # The agent's life

    def start(self) -> None:
        """Start the agent and wait until it answers; `start_seconds` is the time that took."""
        assert self.agent is None, "the agent is started already"
        extra = () if self.heartbeats else ("--no-heartbeat",)
        with (self.directory / "agent.log").open("ab") as log:
            began = time.monotonic()
            argv = self._inside([*self.command, self.inner(self.config_file), *extra])
            self.agent = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env(), start_new_session=True
            )
        agent, silent = self.agent, lambda: f"the agent's answer:\n{self.log[-4000:]}"
        wait_for(lambda: self._answers() or agent.poll() is not None, silent, seconds=START_SECONDS, interval=0.005)
        if agent.poll() is not None:
            raise RuntimeError(f"the agent ended (exit {agent.poll()}):\n{self.log[-4000:]}")
        self.start_seconds = time.monotonic() - began

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/", timeout=5).status == http.HTTPStatus.OK
        return False

    def stop(self, *, timeout: float = 20.0) -> int:
        """End the agent as an operator does (SIGTERM) and return its exit code. HAProxy goes on."""
        assert self.agent is not None, "the agent is not running"
        self.agent.send_signal(signal.SIGTERM)
        code = self.agent.wait(timeout)
        self.agent = None
        return code

    def kill(self) -> None:
        """End the agent and its helpers at once (SIGKILL), as a crash does. HAProxy goes on."""

        def are_gone() -> bool:
            pids = self._management_pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        wait_for(are_gone, "the agent's end", interval=0.002)
        if self.agent is not None:
            self.agent.wait(5)
            self.agent = None

    def restart(self) -> None:
        """Stop the agent and start it again."""
        self.stop()
        self.start()

    def agent_pids(self) -> tuple[int, ...]:
        """Return the agent's processes, heartbeat included, without the commands that one of them runs just now."""
        return tuple(pid for pid in self._management_pids() if _program(pid).startswith("python"))

    def _management_pids(self) -> tuple[int, ...]:
        holder = self._holder.pid if self._holder else None
        return tuple(pid for pid in self.management.pids() if pid != holder)

    def power_off(self) -> None:
        """End everything at once and destroy the load balancer's namespace; files and NICs survive, as in a reboot.

        The NICs are back in the management namespace, named as at first. Go on with `run(["amphora-interface", ...])`
        and `start()`.
        """
        self.kill()
        if self.netns.path.exists():
            self.netns.kill_all()
            for link in json.loads(self.netns.run(["ip", "-j", "link"])):
                if link.get("link_type") == "ether":
                    name, home = link["ifname"], unique("nic")
                    self.netns.ip(f"link set {name} down", f"link set {name} name {home} netns {self.management.name}")
            self.netns.close()

    # Talking to it

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        document: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Reply:
        """Send one request on a connection of its own and return the answer.

        `body` goes raw and without a Content-Type, as the controller's uploads do; `document` goes as JSON.
        """
        with contextlib.closing(self.connect(timeout=timeout)) as connection:
            return ask(connection, method, path, body, document=document, headers=headers)

    def connect(self, *, context: ssl.SSLContext | None = None, timeout: float = 60.0) -> http.client.HTTPSConnection:
        """Return a connection made from the client namespace; use it with `ask`, close it yourself."""
        context = context or self.context
        connection = http.client.HTTPSConnection(AGENT_ADDRESS, AGENT_PORT, timeout=timeout, context=context)
        plain = self.client.connect(AGENT_ADDRESS, AGENT_PORT, timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the HTTP clients of controllers do
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=self.amphora_id)
        except BaseException:
            plain.close()
            raise
        return connection

    def ask_locally(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        document: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request over the UNIX socket and return the answer; arguments as in `request`."""
        with contextlib.closing(self.connect_locally()) as connection:
            return ask(connection, method, path, body, document=document, headers=headers)

    def connect_locally(self, *, timeout: float = 60.0) -> http.client.HTTPConnection:
        """Return a connection over the UNIX socket; use it with `ask`, close it yourself."""
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(self.api_socket))
        return connection

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program on the amphora, outside the load balancer's namespace; the output is one text."""
        return subprocess.run(
            self._inside(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            env=self._env(),
        )

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program on the amphora, outside the load balancer's namespace; the caller ends it."""
        with (self.directory / "agent.log").open("ab") as log:
            return subprocess.Popen(
                self._inside(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env()
            )

    # Its surroundings

    def network(self, prefix: str, *addresses: str) -> Namespace:
        """Return a new namespace for the far end of NICs; it goes when the amphora goes."""
        namespace = self._create(prefix)
        self._networks.append(namespace)
        namespace.ip(*(f"address add {address} dev lo" for address in addresses))
        return namespace

    def add_nic(self, mac: str, far: Namespace, *addresses: str) -> str:
        """Hot-plug a NIC into the amphora's root namespace and return the name of its far end.

        Args:
            mac: the NIC's; the far end gets one of its own.
            far: where the cable ends.
            addresses: with prefix length, given to the far end. IPv6 ones are usable at once.
        """
        self._nics += 1
        name, far_name = f"ens{self._nics}", unique("far")
        self.management.ip(f"link add {name} address {mac} type veth peer name {far_name} netns {far.name}")
        nodad = (f"address add {address} dev {far_name}{' nodad' if ':' in address else ''}" for address in addresses)
        far.ip(f"link set {far_name} up", *nodad)
        return far_name

    def remove_nic(self, far: Namespace, far_name: str) -> None:
        """Hot-unplug the NIC at the other end of `far_name`."""
        far.ip(f"link del {far_name}")

    def sample(self, name: str) -> str:
        """Return a file of `samples/` with the contract's paths and names replaced by this amphora's."""
        return self.localised((SAMPLES / name).read_text())

    def localised(self, text: str) -> str:
        """Return a controller's text with the contract's default paths and names replaced by this amphora's."""
        return text.replace("/var/lib/octavia", self.inner(self.base)).replace("amphora-haproxy", self.netns.name)

    def inner(self, path: Path) -> str:
        """Return what the amphora calls a file of `directory`."""
        if self.image:
            for outside, inside in ((self.base, "/var/lib/octavia"), (self.directory / "etc", "/etc/octavia")):
                if path.is_relative_to(outside):
                    return str(inside / path.relative_to(outside))
        return str(path)

    def close(self) -> None:
        """End everything and remove it; harmless when repeated."""
        # The agent goes first, for it would start HAProxy again; the machine last, for it holds the namespace's name.
        if hasattr(self, "management"):
            self.kill()
        for name in ("netns", "management", "client"):
            if hasattr(self, name):
                getattr(self, name).close()
        while self._networks:
            self._networks.pop().close()
        for process in (self.agent, self._holder):
            if process is not None:
                process.wait(5)
        if self._holder is not None and self._holder.stdout is not None:
            self._holder.stdout.close()
        self.agent = self._holder = None
        if self.place is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def config(self) -> str:
        """Return the configuration file as it is written at first."""
        sections: dict[str, dict[str, str]] = {
            "DEFAULT": {"debug": "False"},
            "haproxy_amphora": {
                "base_cert_dir": self.inner(self.cert_dir),
                "base_path": self.inner(self.base),
                "bind_host": AGENT_ADDRESS,
                "bind_port": str(AGENT_PORT),
                "haproxy_cmd": shutil.which("haproxy") or "/usr/sbin/haproxy",
            },
            "health_manager": {
                "controller_ip_port_list": f"{CLIENT_ADDRESS}:{HEARTBEAT_PORT}",
                "heartbeat_interval": "1",
                "heartbeat_key": HEARTBEAT_KEY,
            },
            "amphora_agent": {
                "agent_server_ca": self.inner(self.pki_dir / "ca.pem"),
                "agent_server_cert": self.inner(self.pki_dir / "server.pem"),
                "agent_server_network_dir": self.inner(self.interfaces),
                "amphora_id": self.amphora_id,
                "api_socket": str(self.api_socket),
                "netns": "amphora-haproxy" if self.image else self.netns.name,
                "supervisor": "direct",
            },
            "controller_worker": {"loadbalancer_topology": self.topology},
        }
        for section, options in self.options.items():
            sections.setdefault(section, {}).update(options)
        return "\n".join(
            f"[{section}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for section, options in sections.items()
        )

    def _named(self, role: str) -> str:
        return f"{self.name}-{role}" if self.name else unique(role)

    def _create(self, role: str) -> Namespace:
        return Namespace.create_named(self._named(role))

    def _make_files(self) -> None:
        self.netns = Namespace(self._named("lb"))
        machine = self.directory / "machine"
        for directory in (machine, self.pki_dir, self.interfaces, self.base):
            directory.mkdir(parents=True)
        host = os.uname().nodename
        (machine / "meminfo").write_text(_MEMINFO)
        (machine / "hosts").write_text(f"127.0.0.1 localhost {host}\n::1 localhost {host}\n")
        (machine / "resolv.conf").touch()
        (machine / "rescan").touch()
        (self.base / "haproxy-default-user-group.conf").write_text("global\n    group nogroup\n")
        Pki.mint(self.amphora_id).write(self.pki_dir)
        self.context = client_context(self.pki_dir / "ca.pem", self.pki_dir / "client.pem")
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(self.config())

    def _make_machine(self) -> None:
        self._make_files()
        self.client = self._create("controller")
        self.management = self._create("amphora")
        ip_batch([f"link add mgmt netns {self.client.name} type veth peer name mgmt netns {self.management.name}"])
        for namespace, address in ((self.client, CLIENT_ADDRESS), (self.management, AGENT_ADDRESS)):
            namespace.ip(f"address add {address}/24 dev mgmt", "link set mgmt up")
        enter = ["nsenter", f"--net={self.management.path}", "unshare", "--mount", "--propagation", "unchanged"]
        self._holder = subprocess.Popen(
            [*enter, "sh", "-c", _HOLDER, "holder", str(self.directory), _IMAGE if self.image else ""],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != b"ready\n":
            raise RuntimeError(f"cannot make the amphora's mount namespace: {said.decode()}")
        if self.image:
            self.netns = Namespace("amphora-haproxy", Path(f"/proc/{self._holder.pid}/root/run/netns"))

    def _inside(self, argv: Sequence[str]) -> list[str]:
        assert self._holder is not None, "the machine is gone"
        return ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--", *argv]

    def _env(self) -> dict[str, str]:
        path = os.pathsep.join([*self.path, "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"])
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/nonexistent"}


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | str | None = None,
    *,
    document: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on an open connection and return the answer; arguments as in `RunningAmphora.request`."""
    all_headers = dict(headers or {})
    if document is not None:
        body = json.dumps(document)
        all_headers.setdefault("Content-Type", "application/json")
    raw = body.encode() if isinstance(body, str) else body
    connection.request(method, path, body=raw, headers=all_headers)
    response = connection.getresponse()
    text = response.read()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def _program(pid: int) -> str:
    """Return the file name of what a process runs, "" when it has ended."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "exe").readlink().name
    return ""
