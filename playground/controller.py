"""What Octavia's controller would say and hear: the documents it sends, its calls, and how it reads a heartbeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from playground.printer import Colour, Printer, shortened
from playground.scene import (
    MEMBER_GATEWAY,
    MEMBER_IP,
    MEMBER_MAC,
    MEMBER_SUBNET,
    MTU,
    VIP,
    VIP_GATEWAY,
    VIP_MAC,
    VIP_PORT,
    VIP_SUBNET,
    VRRP_IP,
    WEB_PORT,
    WEB_SERVERS,
    Refused,
    WebServerPlace,
)
from testbed.amphora import LB_ID, Reply, RunningAmphora
from testbed.heartbeat_receiver import Heartbeat

LISTENER_ID = "1d3c5b70-7e2f-4b8e-8a55-3a0f4c6d7e03"
POOL_ID = "6e8f9a21-2c4d-4f60-b1a7-5d2e3f4a5b04"
_POOL_KEY = f"{POOL_ID}:{LISTENER_ID}"

PLUG_VIP: Mapping[str, object] = {
    "subnet_cidr": VIP_SUBNET,
    "gateway": VIP_GATEWAY,
    "mac_address": VIP_MAC,
    "vrrp_ip": VRRP_IP,
    "mtu": MTU,
    "host_routes": [],
    "additional_vips": [],
    "is_sriov": False,
}
PLUG_NETWORK: Mapping[str, object] = {
    "mac_address": MEMBER_MAC,
    "fixed_ips": [
        {"ip_address": MEMBER_IP, "subnet_cidr": MEMBER_SUBNET, "gateway": MEMBER_GATEWAY, "host_routes": []}
    ],
    "mtu": MTU,
    "is_sriov": False,
}


def haproxy_config() -> str:
    """Return the configuration of one HTTP listener with a pool of all web servers, checked every second.

    It has the form a controller gives it, the contract's default paths included.
    """
    servers = "".join(
        f"    server {server.member_id} {server.address}:{WEB_PORT} weight 1 check inter 1s fall 2 rise 2\n"
        for server in WEB_SERVERS
    )
    return f"""# Configuration for loadbalancer {LB_ID}
global
    daemon
    user nobody
    log /run/rsyslog/octavia/log local0
    log /run/rsyslog/octavia/log local1 notice
    stats socket /var/lib/octavia/{LB_ID}.sock mode 0666 level user
    server-state-file /var/lib/octavia/{LB_ID}/servers-state
    maxconn 50000

defaults
    log global
    retries 3
    option redispatch
    option http-keep-alive

frontend {LISTENER_ID}
    maxconn 50000
    bind {VIP}:{VIP_PORT}
    mode http
    default_backend {_POOL_KEY}
    timeout client 50000

backend {_POOL_KEY}
    mode http
    http-reuse safe
    balance roundrobin
    load-server-state-from-file global
    timeout check 1s
    option httpchk GET / HTTP/1.0
    http-check expect rstatus 200
    fullconn 50000
    option allbackups
    timeout connect 5000
    timeout server 50000
{servers}"""


@dataclass(frozen=True, slots=True)
class Controller:
    """Drives one agent and tells what it does."""

    amphora: RunningAmphora
    out: Printer

    def call(self, why: str, method: str, path: str, *, document: object = None, body: str | None = None) -> Reply:
        """Make one call on a connection of its own, print it, and return the answer. TLS handshake and all are timed.

        Raises:
            Refused: the answer is no success.
            OSError: there is no answer.
        """
        with self.out.step(why) as notes:
            reply = self.amphora.request(method, path, body, document=document)
            good = reply.status in (HTTPStatus.OK, HTTPStatus.ACCEPTED)
            status = self.out.paint(str(reply.status), Colour.GOOD if good else Colour.BAD)
            notes.append(f"{method} {shortened(path)} -> {status}")
            if not good:
                raise Refused(f"the agent answered {method} {path} with {reply.status}: {reply.body.decode()}")
            notes.extend(_said(reply))
        return reply


def describe(heartbeat: Heartbeat, out: Printer) -> str:
    """Return one line on a verified heartbeat."""
    message = heartbeat.message
    listener = message["listeners"].get(LISTENER_ID, {}).get("status", "-")
    pool = message["pools"].get(_POOL_KEY, {}).get("status", "-")
    words = [f"seq {message['seq']:<3}", f"{len(heartbeat.envelope)} bytes, signature ok", f"listener {listener}"]
    words.append(f"pool {_painted(pool, out)}")
    words += (f"{server.name} {_painted(member_status(heartbeat, server), out)}" for server in WEB_SERVERS)
    return "  ".join(words)


def member_status(heartbeat: Heartbeat, server: WebServerPlace) -> str:
    """Return HAProxy's word for a member in a heartbeat, `-` while the member is not in it."""
    members: Mapping[str, str] = heartbeat.message["pools"].get(_POOL_KEY, {}).get("members", {})
    return members.get(server.member_id, "-")


def _painted(status: str, out: Printer) -> str:
    colour = {"UP": Colour.GOOD, "DOWN": Colour.BAD}.get(status.partition(" ")[0])
    return out.paint(status, colour) if colour else status


def _said(reply: Reply) -> list[str]:
    """Return what of an answer is worth a line."""
    document = json.loads(reply.body)
    if "details" in document:
        return [shortened(line) for line in str(document["details"]).splitlines()]
    if "haproxy_version" in document:
        return [f"HAProxy {document['haproxy_version']} on {document['hostname']}"]
    if "api_version" in document:
        return [f"API version {document['api_version']}"]
    return []
