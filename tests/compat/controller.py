"""The test's end of `octavia_controller.py`: starts it, speaks its lines, and knows a small world to put into it."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from testbed.amphora import AGENT_ADDRESS, AGENT_PORT, AMPHORA_ID, HEARTBEAT_KEY, LB_ID, RunningAmphora
from testbed.scenario import LISTENER_ID, MEMBER_ADDRESSES, MEMBER_IDS, MEMBER_PORT, VIP

POOL_ID = "d50b8050-f704-5b6e-9723-8d8dbcb5e65a"
MONITOR_ID = "0a6f4f5b-4f5e-5d0c-9a0e-6c8e0d3d2b11"
PROJECT_ID = "7ab2c3d4e5f64a1b8c9d0e1f2a3b4c5d"
Row = tuple[str, dict[str, Any]]


class OctaviaError(Exception):
    """What Octavia raised: `name` is its class, `text` its message."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


@dataclass(slots=True)
class OctaviaController:
    """A process with Octavia's own classes; a context manager. `warnings` is what the last call made it log."""

    python: Path
    directory: Path
    warnings: list[str] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("octavia_controller.py")
        log = (self.directory / "octavia.log").open("w")
        with log:
            self._process = subprocess.Popen(
                [str(self.python), "-W", "ignore", str(script), str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate(timeout=20)

    def call(self, verb: str, **arguments: object) -> Any:
        """Have the controller do something and return what came of it; OctaviaError for what Octavia raised."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self.directory / "octavia.log").read_text()
        reply = json.loads(line)
        self.warnings = reply["warnings"]
        if "error" in reply:
            raise OctaviaError(reply["error"], reply["text"])
        return reply["value"]

    def attach(self, amphora: RunningAmphora, **options: dict[str, object]) -> None:
        """Control this amphora from now on, with an empty database; `options` are sections of octavia.conf."""
        haproxy = {"base_path": amphora.inner(amphora.base), "base_cert_dir": amphora.inner(amphora.cert_dir)}
        options["haproxy_amphora"] = {**haproxy, **options.get("haproxy_amphora", {})}
        self.attach_to(amphora.pki_dir, AGENT_PORT, netns=str(amphora.client.path), **options)

    def attach_to(self, pki: Path, port: int, *, netns: str | None = None, **options: dict[str, object]) -> None:
        """Control whatever answers on this port: with `ca.pem` and `client.pem` of a directory, from a namespace."""
        sections: dict[str, dict[str, object]] = {
            "haproxy_amphora": {
                "bind_port": port,
                "client_cert": str(pki / "client.pem"),
                "server_ca": str(pki / "ca.pem"),
                "connection_max_retries": 3,
                "connection_retry_interval": 1,
                "rest_request_conn_timeout": 10,
                "rest_request_read_timeout": 60,
            },
            "health_manager": {"heartbeat_key": HEARTBEAT_KEY, "heartbeat_interval": 10},
            "amphora_agent": {"agent_tls_protocol": "TLSv1.2"},
        }
        for section, values in options.items():
            sections.setdefault(section, {}).update(values)
        self.call("attach", netns=netns, options=sections)
        self.call("clear")

    def client(self, method: str, *arguments: object, version: str = "1.0", amphora_id: str = AMPHORA_ID) -> Any:
        """Call a method of `AmphoraAPIClient1_0`, or of the base class for version `base`."""
        amphora = {"id": amphora_id, "lb_network_ip": AGENT_ADDRESS}
        return self.call("client", version=version, method=method, args=list(arguments), amphora=amphora)

    def drive(self, method: str, *arguments: object) -> Any:
        """Call a method of `HaproxyAmphoraLoadBalancerDriver`."""
        return self.call("drive", method=method, args=list(arguments))

    def update_listeners(self, lb_id: str = LB_ID, amphora_id: str = AMPHORA_ID) -> None:
        """Have the driver bring the amphora to what the database says, as after every change of a user."""
        self.drive("update_amphora_listeners", row("LoadBalancer", lb_id), row("Amphora", amphora_id))

    def heartbeat(self, envelope: bytes) -> None:
        """Have the health manager's own code digest a datagram."""
        self.call("heartbeat", envelope=raw(envelope), key=HEARTBEAT_KEY)


def raw(data: bytes) -> dict[str, str]:
    """Return bytes as they travel."""
    return {"base64": base64.b64encode(data).decode()}


def row(model: str, key: str) -> dict[str, list[str]]:
    """Return a stored object as it travels."""
    return {"row": [model, key]}


def world(*, topology: str = "SINGLE", monitor: bool = True) -> list[Row]:
    """Return an ACTIVE load balancer on one amphora: HTTP listener, pool, two members, HTTP monitor."""
    rows: list[Row] = [
        ("LoadBalancer", entity(LB_ID, name="lb", topology=topology)),
        ("Vip", {"load_balancer_id": LB_ID, "ip_address": VIP}),
        (
            "Amphora",
            {
                "id": AMPHORA_ID,
                "load_balancer_id": LB_ID,
                "status": "ALLOCATED",
                "role": "STANDALONE",
                "lb_network_ip": AGENT_ADDRESS,
                "vrrp_ip": "10.10.0.11",
                "ha_ip": VIP,
            },
        ),
        pool(POOL_ID),
        listener(LISTENER_ID, default_pool_id=POOL_ID),
        *(member(key, POOL_ID, address) for key, address in zip(MEMBER_IDS, MEMBER_ADDRESSES, strict=True)),
    ]
    if monitor:
        rows.append(http_monitor(MONITOR_ID, POOL_ID))
    return rows


def entity(key: str, **columns: object) -> dict[str, Any]:
    """Return the columns every user-visible object has, enabled and ONLINE."""
    common = {"project_id": PROJECT_ID, "provisioning_status": "ACTIVE", "operating_status": "ONLINE", "enabled": True}
    return {"id": key, **common, **columns}


def listener(key: str, *, protocol: str = "HTTP", port: int = 80, **columns: object) -> Row:
    """Return a listener."""
    fixed: dict[str, object] = {"load_balancer_id": LB_ID, "connection_limit": -1, "insert_headers": {}}
    return "Listener", entity(key, name="listener", protocol=protocol, protocol_port=port, **{**fixed, **columns})


def pool(key: str, *, protocol: str = "HTTP", algorithm: str = "ROUND_ROBIN", **columns: object) -> Row:
    """Return a pool without members."""
    return "Pool", entity(
        key, name="pool", load_balancer_id=LB_ID, protocol=protocol, lb_algorithm=algorithm, **columns
    )


def member(key: str, pool_id: str, address: str, *, port: int = MEMBER_PORT, **columns: object) -> Row:
    """Return a member with weight 1."""
    fixed: dict[str, object] = {"weight": 1, "backup": False}
    return "Member", entity(key, pool_id=pool_id, ip_address=address, protocol_port=port, **{**fixed, **columns})


def http_monitor(key: str, pool_id: str) -> Row:
    """Return a health monitor that notices a change within two seconds."""
    columns = {
        "type": "HTTP",
        "delay": 1,
        "timeout": 1,
        "fall_threshold": 1,
        "rise_threshold": 1,
        "http_method": "GET",
        "url_path": "/",
        "expected_codes": "200",
    }
    return "HealthMonitor", entity(key, pool_id=pool_id, **columns)
