"""UDP and SCTP listeners as the controller configures them, uploaded and applied as it does."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from testbed.amphora import AMPHORA_ID, LB_ID, Reply, ask
from tests.image.machine import MEMBER_MAC, VIP_MAC, VirtualMachine

VIP = "10.10.0.100"
VIP_6 = "2001:db8:10::100"
MEMBER_PORT = 8080
PLUG_VIP: dict[str, object] = {
    "subnet_cidr": "10.10.0.0/24",
    "gateway": "10.10.0.1",
    "mac_address": VIP_MAC,
    "vrrp_ip": "10.10.0.10",
    "mtu": 1450,
    "host_routes": [],
    "additional_vips": [
        {"ip_address": "2001:db8:10::100", "subnet_cidr": "2001:db8:10::/64", "gateway": None, "host_routes": []}
    ],
}
FIXED_IPS: tuple[dict[str, object], ...] = (
    {"ip_address": "10.20.0.5", "subnet_cidr": "10.20.0.0/24", "gateway": None, "host_routes": []},
    {"ip_address": "2001:db8:20::5", "subnet_cidr": "2001:db8:20::/64", "gateway": None, "host_routes": []},
)
PLUG_MEMBERS: dict[str, object] = {"mac_address": MEMBER_MAC, "fixed_ips": list(FIXED_IPS), "mtu": 1450}


@dataclass(frozen=True, slots=True)
class Member:
    """One member; its host number is part of its address and of its id."""

    host: int
    weight: int = 1

    @property
    def address(self) -> str:
        """Its address in the namespace `members`."""
        return f"10.20.0.{self.host}"

    @property
    def id(self) -> str:
        """Its id, the same for the same host."""
        return f"00000000-0000-4000-8000-0000000000{self.host:02d}"


def monitor(interval: int, check: str = "/var/lib/octavia/lvs/check/udp_check.sh") -> str:
    """Return a health monitor that runs `check ADDRESS PORT` every `interval` seconds and allows one failure."""
    return f"{interval} {check}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One listener on the IPv4 VIP with a pool; `monitor` is what `monitor()` made, or empty."""

    id: str
    port: int
    protocol: str = "UDP"
    monitor: str = ""

    @property
    def pool_id(self) -> str:
        """The pool's id."""
        return f"9{self.id[1:]}"

    def config(self, members: Sequence[Member]) -> str:
        """Return keepalived's configuration, laid out like the controller's."""
        interval, _, check = self.monitor.partition(" ")
        timing = f"    delay_loop {interval}\n    delay_before_retry 1\n    retry 1\n" if check else ""
        servers = "".join(_real_server(member, check) for member in members)
        monitor_comment = f"    # Configuration for HealthMonitor 8{self.id[1:]}\n" if check else ""
        return (
            f"# Configuration for Loadbalancer {LB_ID}\n# Configuration for Listener {self.id}\n\n"
            "net_namespace amphora-haproxy\n\n"
            f"virtual_server_group ipv4-group {{\n    {VIP} {self.port}\n}}\n\n"
            "virtual_server group ipv4-group {\n"
            f"    lb_algo wrr\n    lb_kind NAT\n    protocol {self.protocol}\n{timing}\n\n"
            f"    # Configuration for Pool {self.pool_id}\n{monitor_comment}{servers}}}\n"
        )


def _real_server(member: Member, check: str) -> str:
    endpoint = f"{member.address} {MEMBER_PORT}"
    body = f"        weight {member.weight}\n"
    if check:
        command = f'            misc_path "{check} {endpoint}"\n            misc_timeout 3\n'
        body += f"        MISC_CHECK {{\n{command}        }}\n"
    return f"    # Configuration for Member {member.id}\n    real_server {endpoint} {{\n{body}    }}\n\n"


@dataclass(slots=True)
class Controller:
    """What the controller does with one amphora, on one kept connection."""

    machine: VirtualMachine
    _connection: http.client.HTTPSConnection | None = field(init=False, default=None)

    def call(self, method: str, path: str, body: str | None = None, *, document: object = None) -> Reply:
        """Send one request; a connection that the agent closed meanwhile is opened anew once."""
        if self._connection is not None:
            with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
                return ask(self._connection, method, path, body, document=document)
            self.close()
        self._connection = self.machine.connect()
        return ask(self._connection, method, path, body, document=document)

    def expect(self, status: int, method: str, path: str, body: str | None = None, *, document: object = None) -> Reply:
        """Send one request that must be answered with this status; the agent's journal tells why it was not."""
        reply = self.call(method, path, body, document=document)
        assert reply.status == status, (path, reply, self._story())
        return reply

    def _story(self) -> str:
        if self.machine.has_kit:
            return self.machine.journal("-u", "amphora-agent", "-n", "60")
        return self.machine.console[-3000:]

    def apply_udp(self, listener_id: str, config: str) -> None:
        """Upload a UDP or SCTP listener and reload it."""
        self.expect(200, "PUT", f"/1.0/listeners/{AMPHORA_ID}/{listener_id}/udp_listener", config)
        self.expect(202, "PUT", f"/1.0/loadbalancer/{listener_id}/reload")

    def apply_http(self, config: str) -> None:
        """Upload the load balancer's HAProxy configuration and reload it."""
        self.expect(202, "PUT", f"/1.0/loadbalancer/{self.machine.amphora_id}/{LB_ID}/haproxy", config)
        self.expect(202, "PUT", f"/1.0/loadbalancer/{LB_ID}/reload")

    def delete(self, object_id: str) -> None:
        """Delete a listener or a load balancer."""
        self.expect(200, "DELETE", f"/1.0/listeners/{object_id}")

    @contextlib.contextmanager
    def listening(self, listener: Listener, members: Sequence[Member]) -> Iterator[None]:
        """Have a listener for the length of the block."""
        self.apply_udp(listener.id, listener.config(members))
        try:
            yield
        finally:
            self.delete(listener.id)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
