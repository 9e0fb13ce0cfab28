"""Two amphorae of one load balancer on this machine: two agents, two HAProxies with peers, two keepaliveds, one VIP.

    lan      one bridge: both VIP ports, the gateway and the clients
    members  one bridge: both member ports and two web servers

Addresses are those of the samples: the first amphora is the MASTER by priority.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self

from testbed.amphora import AMPHORA_ID, LB_ID, RunningAmphora
from testbed.namespaces import Namespace
from testbed.scenario import MEMBER_ADDRESSES, MEMBER_PORT
from testbed.waiting import wait_for
from testbed.web_server import WebServer

SECOND_AMPHORA_ID = "ab8d33ec-d6e5-5c85-b8d4-359f65ca07ce"
VIP4, VIP6 = "10.10.0.100", "2001:db8:10::100"
PORT = 22
SOURCES4 = tuple(f"10.10.0.{host}" for host in range(50, 58))
SOURCES6 = tuple(f"2001:db8:10::{host}" for host in range(50, 58))
FORWARDED = 202


class Family(Enum):
    """Which VIPs the load balancer has."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"

    @property
    def vips(self) -> tuple[str, ...]:
        """The VIPs, the primary one first."""
        return {Family.IPV4: (VIP4,), Family.IPV6: (VIP6,), Family.DUAL: (VIP4, VIP6)}[self]


@dataclass(slots=True)
class Node:
    """One amphora of the pair."""

    amphora: RunningAmphora
    number: int
    haproxy: Path
    vip_far: str = ""

    @property
    def log(self) -> str:
        """What its keepalived printed."""
        return (self.amphora.base / "agent" / "vrrp" / "keepalived.log").read_text(errors="replace")

    @property
    def transitions(self) -> int:
        """How many changes of role its keepalived logged."""
        return self.log.count(" STATE\n")

    @property
    def role(self) -> str:
        """The last role its keepalived logged: MASTER, BACKUP, FAULT or nothing."""
        words = [line.split()[-2] for line in self.log.splitlines() if line.endswith(" STATE")]
        return words[-1] if words else ""

    def addresses(self) -> set[str]:
        """Return the addresses of its VIP interface."""
        links = json.loads(self.amphora.netns.run(["ip", "-j", "address", "show", "dev", "eth1"]))
        return {info["local"] for link in links for info in link["addr_info"]}

    def holds(self, vips: tuple[str, ...]) -> bool:
        """Tell whether it has all VIPs."""
        return set(vips) <= self.addresses()

    def holds_any(self, vips: tuple[str, ...]) -> bool:
        """Tell whether it has one of the VIPs."""
        return bool(set(vips) & self.addresses())

    def put(self, path: str, body: str | None = None) -> dict[str, str]:
        """Send a PUT that must succeed and return the answer."""
        reply = self.amphora.request("PUT", f"/1.0/{path}", body)
        assert reply.status in (200, FORWARDED), (path, reply)
        answer = reply.json()
        assert isinstance(answer, dict)
        return answer

    def break_haproxy(self) -> None:
        """Replace the binary by one that cannot start; `mend_haproxy` brings the real one back."""
        self.haproxy.unlink()
        self.haproxy.write_text("#!/bin/sh\nexit 1\n")
        self.haproxy.chmod(0o755)

    def mend_haproxy(self) -> None:
        """Have the installed HAProxy behind the configured path."""
        self.haproxy.unlink(missing_ok=True)
        self.haproxy.symlink_to(shutil.which("haproxy") or "/usr/sbin/haproxy")

    def haproxy_pid(self) -> int:
        """Return HAProxy's master."""
        return int((self.amphora.base / LB_ID / f"{LB_ID}.pid").read_text().split()[0])

    def is_haproxy_another(self, pid: int) -> bool:
        """Tell whether HAProxy runs again after `pid` has ended; its pid file may be missing meanwhile."""
        try:
            return self.haproxy_pid() != pid
        except (OSError, ValueError, IndexError):
            return False

    def keepalived_pid(self) -> int:
        """Return keepalived's parent process."""
        return int((self.amphora.base / "vrrp" / "octavia-keepalived.pid").read_text().split()[0])


@dataclass(slots=True)
class Pair:
    """Both amphorae and what is around them."""

    family: Family
    nodes: tuple[Node, Node]
    lan: Namespace
    members: Namespace

    @property
    def vips(self) -> tuple[str, ...]:
        """The VIPs of the load balancer."""
        return self.family.vips

    def master(self) -> Node:
        """Return the one amphora that holds every VIP, while the other holds none."""
        holding = [node for node in self.nodes if node.holds(self.vips)]
        others = [node for node in self.nodes if node not in holding and node.holds_any(self.vips)]
        assert len(holding) == 1, [node.addresses() for node in self.nodes]
        assert not others, "the VIPs are torn apart"
        return holding[0]

    def backup(self) -> Node:
        """Return the other one."""
        return self.nodes[1 - self.master().number]

    def await_master(self, *, seconds: float = 40.0) -> Node:
        """Wait until one amphora holds the VIPs and the other one waits for them, and traffic flows."""
        wait_for(self._has_one_master, self.describe, seconds=seconds)
        wait_for(lambda: {node.role for node in self.nodes} == {"MASTER", "BACKUP"}, self.describe, seconds=seconds)
        for vip in self.vips:
            wait_for(lambda vip=vip: self.get(vip) is not None, self.describe, seconds=seconds)  # type: ignore[misc]
        return self.master()

    def _has_one_master(self) -> bool:
        with contextlib.suppress(AssertionError):
            return self.master() is not None
        return False

    def describe(self) -> str:
        """Return the ends of both keepaliveds' logs, for a failure's message."""
        return "\n".join(f"--- {node.number}\n{node.log[-1500:]}" for node in self.nodes)

    def get(self, vip: str, *, source: str = "", timeout: float = 0.4) -> str | None:
        """Return which web server answered a new connection to a VIP, None when none did in time."""
        family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        connection = http.client.HTTPConnection(vip, PORT, timeout=timeout)
        with contextlib.closing(connection):
            try:
                connection.sock = self.lan.open_socket(family)
                connection.sock.settimeout(timeout)
                if source:
                    connection.sock.bind((source, 0))
                connection.sock.connect((vip, PORT))
                connection.request("GET", "/")
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return None

    def answers(self) -> bool:
        """Tell whether every VIP answers now."""
        return all(self.get(vip) is not None for vip in self.vips)

    def servers_of_sources(self) -> dict[tuple[str, str], str | None]:
        """Return which web server each client address gets, per VIP."""
        sources = {VIP4: SOURCES4, VIP6: SOURCES6}
        return {
            (vip, source): self.get(vip, source=source, timeout=2.0) for vip in self.vips for source in sources[vip]
        }


@dataclass(slots=True)
class Outage:
    """Asks a VIP all the time from a thread of its own; `longest` is the longest time without an answer, in seconds."""

    pair: Pair
    vip: str
    longest: float = 0.0
    answers: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(10)

    def _ask(self) -> None:
        last = time.monotonic()
        while not self._stop.is_set():
            if self.pair.get(self.vip) is not None:
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
                self.answers += 1
            self._stop.wait(0.01)
        self.longest = max(self.longest, time.monotonic() - last - 0.5)


@contextlib.contextmanager
def running_pair(family: Family) -> Iterator[Pair]:
    """Make both amphorae, give them everything the controller would, and wait for the first MASTER."""
    with contextlib.ExitStack() as stack:
        ids = (AMPHORA_ID, SECOND_AMPHORA_ID)
        nodes = [_node(stack, amphora_id, number) for number, amphora_id in enumerate(ids)]
        lan, members = nodes[0].amphora.network("lan"), nodes[0].amphora.network("mem")
        _bridge(lan, "10.10.0.1/24", "10.10.0.7/24", "2001:db8:10::1/64", *_sources())
        _bridge(members, "10.20.0.1/24", *(f"{address}/24" for address in MEMBER_ADDRESSES))
        for number, address in enumerate(MEMBER_ADDRESSES, start=1):
            stack.enter_context(WebServer(members, address, MEMBER_PORT, f"web{number}"))
        for node in nodes:
            node.vip_far = node.amphora.add_nic(_mac(node, 1), lan)
            lan.ip(f"link set {node.vip_far} master br0")
            members.ip(f"link set {node.amphora.add_nic(_mac(node, 2), members)} master br0")
            _plug(node, family)
        pair = Pair(family, (nodes[0], nodes[1]), lan, members)
        for node in nodes:
            node.put(f"loadbalancer/{node.amphora.amphora_id}/{LB_ID}/haproxy", haproxy_config(node, family))
            node.put(f"loadbalancer/{LB_ID}/reload")
        for node in nodes:
            node.put("vrrp/upload", vrrp_config(node, family))
            node.put("vrrp/start")
        pair.await_master()
        yield pair


def haproxy_config(node: Node, family: Family) -> str:
    """Return the sample with SOURCE_IP persistence and peers, with the binds of this family."""
    text = node.amphora.sample("haproxy/08-persistence-source-ip-peers.cfg")
    binds = "\n".join(f"    bind {vip}:{PORT}" for vip in family.vips)
    text = text.replace(f"    bind {VIP4}:{PORT}", binds)
    if family is Family.IPV6:
        text = text.replace("10.10.0.11:1025", "2001:db8:10::11:1025").replace(
            "10.10.0.12:1025", "2001:db8:10::12:1025"
        )
    return text


def vrrp_config(node: Node, family: Family, *, comment: str = "") -> str:
    """Return the sample of this family for this amphora."""
    name = {
        Family.IPV4: "01-ipv4-master.conf",
        Family.IPV6: "03-ipv6-master.conf",
        Family.DUAL: "04-dual-stack-additional-vips.conf",
    }[family]
    text = node.amphora.sample(f"vrrp/{name}")
    if node.number == 1:
        for prefix in ("10.10.0.1", "2001:db8:10::1"):
            text = text.replace(f"unicast_src_ip {prefix}1\n", f"unicast_src_ip {prefix}2\n")
            text = text.replace(f"        {prefix}2\n", f"        {prefix}1\n")
        text = text.replace("priority 100\n    nopreempt", "priority 90\n    nopreempt")
    return f"{text}\n# {comment}\n" if comment else text


def family_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    pids = [pid]
    for parent in pids:
        with contextlib.suppress(OSError):
            pids += [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return pids


def kill(pid: int) -> None:
    """End a process and all its children at once, so that none of them can say goodbye."""
    pids = family_of(pid)
    for member in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGSTOP)
    for member in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def _node(stack: contextlib.ExitStack, amphora_id: str, number: int) -> Node:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    haproxy = directory / "haproxy"
    options = {"haproxy_amphora": {"haproxy_cmd": str(haproxy)}}
    haproxy.symlink_to(shutil.which("haproxy") or "/usr/sbin/haproxy")
    amphora = RunningAmphora(amphora_id=amphora_id, topology="ACTIVE_STANDBY", options=options)
    return Node(stack.enter_context(amphora), number, haproxy)


def _bridge(namespace: Namespace, *addresses: str) -> None:
    nodad = (f"address add {address} dev br0{' nodad' if ':' in address else ''}" for address in addresses)
    namespace.ip("link add br0 type bridge forward_delay 0 stp_state 0", "link set br0 up", *nodad)


def _sources() -> list[str]:
    return [f"{source}/24" for source in SOURCES4] + [f"{source}/64" for source in SOURCES6]


def _mac(node: Node, port: int) -> str:
    return f"fa:16:3e:00:0{node.number}:0{port}"


def _plug(node: Node, family: Family) -> None:
    octet = 11 + node.number
    v4 = {"subnet_cidr": "10.10.0.0/24", "gateway": "10.10.0.1", "host_routes": []}
    v6 = {"subnet_cidr": "2001:db8:10::/64", "gateway": "2001:db8:10::1", "host_routes": []}
    vip, first, vrrp_ip = (
        (VIP6, v6, f"2001:db8:10::{octet}") if family is Family.IPV6 else (VIP4, v4, f"10.10.0.{octet}")
    )
    more = [v6 | {"ip_address": VIP6}] if family is Family.DUAL else []
    document = first | {
        "mac_address": _mac(node, 1),
        "vrrp_ip": vrrp_ip,
        "mtu": 1450,
        "additional_vips": more,
        "is_sriov": False,
    }
    reply = node.amphora.request("POST", f"/1.0/plug/vip/{vip}", document=document)
    assert reply.status == FORWARDED, reply
    fixed: dict[str, Any] = {"ip_address": f"10.20.0.{4 + node.number}", "subnet_cidr": "10.20.0.0/24"}
    fixed |= {"host_routes": [], "gateway": None}
    document = {"mac_address": _mac(node, 2), "fixed_ips": [fixed], "mtu": 1450, "is_sriov": False}
    reply = node.amphora.request("POST", "/1.0/plug/network", document=document)
    assert reply.status == FORWARDED, reply
