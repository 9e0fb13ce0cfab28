"""The playground's networks and machines: made, found again and removed by their names. Never talks to the agent.

Each machine of `MAP` is a network namespace whose name begins with the playground's: `playground-client` ... One more,
`playground-network`, is the switch between HAProxy and the web servers. The client is its own router to the VIP's
network, so that answers need the routes and rules of the VIP, not only its address.

Decision: names are fixed, not random, so that a person can type them and a later run finds all that a killed one left,
without a record that could be missing. The directory is made before the first namespace and removed after the last:
namespaces without it are somebody else's and never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from testbed.amphora import AGENT_ADDRESS, CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, RunningAmphora
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.namespaces import Namespace
from testbed.web_server import get

ROOT = Path(__file__).parent.parent
DIRECTORIES = Path("/var/lib")
# The agent's namespace goes first: a living agent would start HAProxy again.
ROLES = ("amphora", "lb", "controller", "client", "network", "web-1", "web-2")
PROGRAMS = ("haproxy", "ip", "nsenter", "unshare", "curl")

CONTROLLER_ADDRESS = CLIENT_ADDRESS
AMPHORA_ADDRESS = AGENT_ADDRESS
VIP, VRRP_IP, VIP_SUBNET, VIP_GATEWAY = "10.10.0.100", "10.10.0.11", "10.10.0.0/24", "10.10.0.1"
VIP_PORT = 80
VIP_MAC, MEMBER_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
MEMBER_IP, MEMBER_SUBNET, MEMBER_GATEWAY = "10.20.0.5", "10.20.0.0/24", "10.20.0.1"
CLIENT = "198.51.100.7"
WEB_PORT = 8080
MTU = 1450

MAP = """
  client -------- VIP 10.10.0.100 -- lb: HAProxy -- 10.20.0.5 --+-- web-1 10.20.0.11
  198.51.100.7                       |                          '-- web-2 10.20.0.12
  controller ---- 192.0.2.2 -------- amphora: agent, heartbeat
  192.0.2.1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServerPlace:
    """A web server and the member it is for the controller."""

    name: str
    address: str
    member_id: str


WEB_SERVERS = (
    WebServerPlace(name="web-1", address="10.20.0.11", member_id="4f6d1c1a-98f4-4a0e-9c8b-5a2b6f9d1e01"),
    WebServerPlace(name="web-2", address="10.20.0.12", member_id="9b27e0c3-3d55-47c5-8a3d-0c6f1e7a2b02"),
)


class Refused(Exception):
    """The playground cannot go on, for a reason its user can act upon; the text says it all."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where one playground is: the names of its namespaces and its directory. Says nothing about what exists."""

    name: str

    @property
    def directory(self) -> Path:
        """Holds every file of the playground; exists exactly as long as any part of it may exist."""
        return DIRECTORIES / f"amphora-{self.name}"

    @property
    def kept_marker(self) -> Path:
        """Present once a run has left the playground standing on purpose."""
        return self.directory / "kept"

    def namespace(self, role: str) -> Namespace:
        """Return the namespace of one of the ROLES."""
        return Namespace(f"{self.name}-{role}")

    def standing(self) -> tuple[str, ...]:
        """Return the names of the namespaces that exist."""
        spaces = (self.namespace(role) for role in ROLES)
        return tuple(space.name for space in spaces if space.path.exists())

    def is_kept(self) -> bool:
        """Tell whether a playground stands here on purpose; false after a reboot of the machine."""
        return self.kept_marker.exists() and self.namespace("amphora").path.exists()

    def member_pid(self, role: str) -> int | None:
        """Return the pid of a web server, None while it does not run."""
        return next(iter(self.namespace(role).pids()), None)


def claim(site: Site) -> bool:
    """Make the site this process's own until it ends; return whether something is there already.

    Raises:
        Refused: another run holds it, or namespaces of its names exist that no playground made.
    """
    try:
        site.directory.mkdir()
        existed = False
    except FileExistsError:
        existed = True
    held = os.open(site.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        still_there = site.directory.stat().st_ino == os.fstat(held).st_ino
    except (BlockingIOError, FileNotFoundError):
        still_there = False
    if not still_there:
        raise Refused(f"cannot start: another run of the playground {site.name!r} is at work; wait for it, or end it")
    if not existed and (strangers := site.standing()):
        site.directory.rmdir()
        raise Refused(
            f"cannot start: the network namespaces {', '.join(strangers)} exist and are not the playground's; "
            "remove them, or choose another --name"
        )
    # HAProxy's worker is `nobody` and looks for files below.
    site.directory.chmod(0o755)
    return existed


def clear(site: Site) -> None:
    """End every process of the playground and remove its namespaces and files, but not its directory.

    Raises:
        OSError, CalledProcessError: something resists.
    """
    # Our own first: one that is just being started is in no namespace yet.
    children = psutil.Process().children()
    for process in [*children, *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(children, timeout=5)
    for role in ROLES:
        site.namespace(role).close()
    for entry in site.directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def remove(site: Site) -> None:
    """Remove everything of the playground; raises as `clear` does, and then the directory stays for another try."""
    clear(site)
    site.directory.rmdir()


def check_machine() -> None:
    """Raise Refused unless this machine and user can run the playground."""
    if os.geteuid() != 0:
        raise Refused("cannot run the playground without root (it makes network namespaces): try  sudo playground/run")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise Refused(
            f"cannot run the playground without {', '.join(missing)}: playground/run installs what is missing"
        )


@dataclass(slots=True)
class Scene:
    """A playground of this process: everything that runs in it."""

    site: Site
    amphora: RunningAmphora
    heartbeats: HeartbeatReceiver
    _web_servers: dict[str, subprocess.Popen[bytes]]

    @staticmethod
    def build(site: Site) -> Scene:
        """Make the namespaces, cables and files; nothing runs yet. The site must be claimed and empty."""
        amphora = RunningAmphora(name=site.name, place=site.directory, started=False)
        amphora.__enter__()
        client = amphora.network("client", f"{CLIENT}/32")
        cable = amphora.add_nic(VIP_MAC, client, f"{VIP_GATEWAY}/24")
        client.ip(f"route replace {VIP_SUBNET} dev {cable} src {CLIENT}")
        network = amphora.network("network")
        cable = amphora.add_nic(MEMBER_MAC, network)
        network.ip("link add bridge type bridge", "link set bridge up", f"link set {cable} master bridge")
        for server in WEB_SERVERS:
            _connect(amphora.network(server.name), network, server)
        # Bound before the agent starts, the receiver misses nothing.
        receiver = listen(site)
        return Scene(site, amphora, receiver, {})

    def start_web_server(self, server: WebServerPlace) -> int:
        """Start a web server, wait until it answers, and return its pid."""
        command = ["nsenter", f"--net={self.site.namespace(server.name).path}", *member_command(server)]
        with (self.site.directory / f"{server.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._web_servers[server.name] = process
        deadline = time.monotonic() + 10
        while True:
            try:
                get(self.site.namespace(server.name), server.address, WEB_PORT, timeout=2)
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Refused(f"cannot start the web server {server.name}: {error}") from error
                time.sleep(0.01)
            else:
                return process.pid

    def kill_web_server(self, server: WebServerPlace) -> int:
        """Kill a web server as a crash would, and return the pid it had."""
        process = self._web_servers.pop(server.name)
        process.kill()
        process.wait(5)
        return process.pid

    def ask_vip(self) -> str:
        """Return who answers one request of the client for the VIP; an empty text when nobody does."""
        try:
            return self.site.namespace("client").run(["curl", "-sS", "--max-time", "10", f"http://{VIP}/"]).strip()
        except subprocess.CalledProcessError:
            return ""


def listen(site: Site) -> HeartbeatReceiver:
    """Return the controller's end of the heartbeats."""
    return HeartbeatReceiver.listen(site.namespace("controller"), CONTROLLER_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY)


def member_command(server: WebServerPlace) -> Sequence[str]:
    """Return what starts a web server in its namespace, from the repository's directory."""
    return (sys.executable, "-m", "playground.member", server.name)


def _connect(namespace: Namespace, network: Namespace, server: WebServerPlace) -> None:
    """Lay a cable from a web server to the bridge of the member network."""
    network.ip(f"link add {server.name} type veth peer name eth0 netns {namespace.name}")
    network.ip(f"link set {server.name} master bridge up")
    namespace.ip(f"address add {server.address}/24 dev eth0", "link set eth0 up")
