"""A running agent under measurement: its networks, members that answer by the thousand, configurations of any size."""

from __future__ import annotations

import contextlib
import csv
import io
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.contestants import Contestant, Options
from testbed.amphora import CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, LB_ID, RunningAmphora, ask
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.namespaces import Namespace
from testbed.scenario import MEMBER_MAC, VIP, VIP_MAC, request_sample

LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
BACKEND = f"d50b8050-f704-5b6e-9723-8d8dbcb5e65a:{LISTENER}"
MEMBER_PORT = 8080
PORT = 80
CHANGE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """An agent with both NICs plugged; 10.30.0.0/16 are members that accept and keep any connection."""

    amphora: RunningAmphora
    clients: Namespace
    heartbeats: HeartbeatReceiver
    plug_vip_seconds: float

    def put(self, path: str, body: str | None = None) -> None:
        """Send one PUT on a connection of its own; anything but 202 is an error."""
        reply = self.amphora.request("PUT", path, body)
        if reply.status != 202:
            raise RuntimeError(f"PUT {path}: {reply.status} {reply.body[:500]!r}")

    def apply(self, config: str) -> float:
        """Upload a configuration and reload; return the seconds both took."""
        began = time.monotonic()
        self.put(f"/1.0/loadbalancer/{self.amphora.amphora_id}/{LB_ID}/haproxy", config)
        self.put(f"/1.0/loadbalancer/{LB_ID}/reload")
        return time.monotonic() - began

    def change(self, ids: Sequence[str], pools: int = 1) -> float:
        """Upload and reload, then wait until HAProxy serves exactly these members; return the seconds of it all."""
        config = configuration(self.amphora, ids, pools=pools)
        began = time.monotonic()
        self.apply(config)
        deadline = began + CHANGE_SECONDS
        while self.serving() != frozenset(ids):
            if time.monotonic() > deadline:
                raise TimeoutError("the change never took effect")
            time.sleep(0.002)
        return time.monotonic() - began

    def serving(self, lb_id: str = LB_ID) -> frozenset[str]:
        """Return the members a load balancer's HAProxy gives connections to; none while it does not answer."""
        path = self.amphora.base / f"{lb_id}.sock"
        text = bytearray()
        with socket.socket(socket.AF_UNIX) as stats, contextlib.suppress(OSError):
            stats.settimeout(CHANGE_SECONDS)
            stats.connect(str(path))
            stats.sendall(b"show stat -1 4 -1\n")
            while data := stats.recv(65536):
                text += data
        rows = csv.DictReader(io.StringIO(text.decode().removeprefix("# ").strip()))
        return frozenset(row["svname"] for row in rows if not (row["status"] or "").startswith("MAINT"))

    def workers(self) -> tuple[int, ...]:
        """Return HAProxy's processes, masters included."""
        return self.amphora.netns.pids()


@contextlib.contextmanager
def arena(contestant: Contestant, options: Options | None = None) -> Iterator[Arena]:
    """Start the agent and plug the VIP and the member network."""
    with contextlib.ExitStack() as stack:
        amphora = stack.enter_context(contestant.start(options or {}, False))
        receiver = HeartbeatReceiver.listen(amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY)
        stack.enter_context(receiver)
        amphora.start()
        clients, members = amphora.network("vip"), amphora.network("mem")
        amphora.add_nic(VIP_MAC, clients, "10.10.0.1/24", "10.10.0.7/24")
        amphora.add_nic(MEMBER_MAC, members, "10.20.0.1/24")
        members.ip("route add local 10.30.0.0/16 dev lo")
        stack.enter_context(member_farm(members))
        seconds = plug(amphora, "plug-vip", {})
        plug(amphora, "plug-network", {"host_routes": [{"destination": "10.30.0.0/16", "nexthop": "10.20.0.1"}]})
        yield Arena(amphora=amphora, clients=clients, heartbeats=receiver, plug_vip_seconds=seconds)


def plug(amphora: RunningAmphora, sample: str, fixed_ip: dict[str, object]) -> float:
    """Plug as a sample request says, with changes to its first fixed IP; return the seconds it took."""
    call = request_sample(sample)
    body = call["body"]
    assert isinstance(body, dict)
    for address in body.get("fixed_ips", ())[:1]:
        address.update(fixed_ip)
    with contextlib.closing(amphora.connect()) as connection:
        began = time.monotonic()
        reply = ask(connection, "POST", f"/1.0/{call['path']}", document=body)
        seconds = time.monotonic() - began
    if reply.status != 202:
        raise RuntimeError(f"{sample}: {reply.status} {reply.body!r}")
    return seconds


@contextlib.contextmanager
def member_farm(namespace: Namespace) -> Iterator[None]:
    """Accept every connection to the member port, on any address of the namespace, and keep it open."""
    listening = namespace.open_socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("", MEMBER_PORT))
    listening.listen(4096)
    listening.setblocking(False)
    done = threading.Event()

    def serve() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listening, selectors.EVENT_READ)
            while not done.is_set():
                for key, _ in selector.select(0.1):
                    _serve_one(selector, listening, key.fileobj)
            for key in tuple(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        listening.close()


def _serve_one(selector: selectors.BaseSelector, listening: socket.socket, ready: object) -> None:
    if ready is listening:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
    elif isinstance(ready, socket.socket):
        data = b""
        with contextlib.suppress(OSError):
            data = ready.recv(65536)
            ready.send(data)
        if not data:
            selector.unregister(ready)
            ready.close()


def member_ids(count: int) -> tuple[str, ...]:
    """Return the ids of the first members, the same ones each time."""
    return tuple(str(uuid.uuid5(uuid.NAMESPACE_OID, f"member {number}")) for number in range(count))


def configuration(amphora: RunningAmphora, ids: Sequence[str], *, monitor: bool = True, pools: int = 1) -> str:
    """Return a TCP load balancer with these members as the controller renders it, checked every 10 s or not at all.

    The members are dealt out to the pools, of which the listener uses the first.

    LEAST_CONNECTIONS, because HAProxy's round robin knows no more than 4,095 servers.
    """
    check = " check inter 10s fall 3 rise 3" if monitor else ""
    address = {key: f"10.30.{number // 250}.{number % 250 + 1}" for number, key in enumerate(ids)}
    servers = [f"    server {key} {address[key]}:{MEMBER_PORT} weight 1{check}\n" for key in ids]
    state = "    load-server-state-from-file global\n    timeout check 5s\n" if monitor else ""
    return amphora.localised(f"""# Configuration for loadbalancer {LB_ID}
global
    daemon
    user nobody
    log /run/rsyslog/octavia/log local0
    log /run/rsyslog/octavia/log local1 notice
    stats socket /var/lib/octavia/{LB_ID}.sock mode 0666 level user
    server-state-file /var/lib/octavia/{LB_ID}/servers-state
    maxconn 4000

defaults
    log global
    retries 3
    option redispatch
    option splice-request
    option splice-response
    option http-keep-alive

frontend {LISTENER}
    maxconn 4000
    bind {VIP}:{PORT}
    mode tcp
    default_backend {BACKEND}
    timeout client 500000

{"".join(_backend(pool, state, servers[pool::pools]) for pool in range(pools))}""")


def _backend(pool: int, state: str, servers: Sequence[str]) -> str:
    name = BACKEND if pool == 0 else f"{uuid.uuid5(uuid.NAMESPACE_OID, f'pool {pool}')}:{LISTENER}"
    return f"""backend {name}
    mode tcp
    balance leastconn
{state}    fullconn 4000
    option allbackups
    timeout connect 5000
    timeout server 500000
{"".join(servers)}
"""
