"""A load balancer put on a machine by hand, without the agent: what the template unit alone must cope with."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from tests.container.machine import Machine

CONFIG = """global
    user nobody
    group nogroup
    maxconn {maxconn}
    stats socket /var/lib/octavia/{name}.sock mode 0666 level user
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
peers p_peers
    peer {peer} 127.0.0.1:{peer_port}
frontend f
    bind 127.0.0.1:{port}
    acl matched path_reg ^/[a-z]+(\\d+)?$
    http-request return status 200 content-type text/plain string "{text}" if matched
"""
PEER = "stBivuwX_t6gjuyzUjnQXG0bLHg"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of `amphora-haproxy@.service` and its files; `text` is what it answers to `GET /x1`."""

    machine: Machine
    port: int
    text: str = "one"
    maxconn: int = 100
    name: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def unit(self) -> str:
        """Name of the instance."""
        return f"amphora-haproxy@{self.name}.service"

    def write(self) -> None:
        """Put configuration and environment on the disk, and have a namespace to run in."""
        base = f"/var/lib/octavia/{self.name}"
        own = f"/var/lib/octavia/agent/{self.name}"
        options = f"-f {base}/haproxy.cfg -p {base}/{self.name}.pid -S {own}/master.sock,mode,600"
        self.machine.write(f"{own}/haproxy.env", f"HAPROXY=/usr/sbin/haproxy\nPEER={PEER}\nOPTIONS={options}\n")
        config = CONFIG.format(
            name=self.name, port=self.port, peer_port=self.port + 1, peer=PEER, text=self.text, maxconn=self.maxconn
        )
        self.machine.write(f"{base}/haproxy.cfg", config, 0o600)
        self.machine.try_exec(["ip", "netns", "add", "amphora-haproxy"])
        self.machine.exec(["ip", "-n", "amphora-haproxy", "link", "set", "lo", "up"])

    def answer(self) -> str:
        """Return what it answers now, empty when it does not."""
        url = f"http://127.0.0.1:{self.port}/x1"
        argv = ["nsenter", "--net=/run/netns/amphora-haproxy", "curl", "--silent", "--max-time", "2", url]
        return self.machine.try_exec(argv).stdout.strip()

    def pid(self) -> int:
        """Return the master, 0 when there is none."""
        return self.machine.main_pid(self.unit)
