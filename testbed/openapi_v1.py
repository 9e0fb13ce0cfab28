"""What API 1.0 takes and answers, for OpenAPI: a table beside its routes, in the contract's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from amphora_agent.api.v1 import schema
from amphora_agent.host.machine import Disk
from amphora_agent.operations.change_record import Outcome
from amphora_agent.operations.info import Listener, Versions
from amphora_agent.operations.watchers import WatcherState


class ApiVersion(Struct):
    """The version the controller asks with."""

    api_version: Literal["1.0"]


class Message(Struct):
    """It was done; `details` says what, where the contract has it."""

    message: str
    details: str | UnsetType = UNSET


class Interface(Struct):
    """The interface that has an address."""

    message: str
    interface: str


class CertificateDigest(Struct):
    """All that is told of a certificate."""

    md5sum: str


class Refusal(Struct):
    """What was wrong, as an endpoint says it."""

    message: str
    details: str


class Error(Struct):
    """What was wrong, as it is said before an endpoint is reached, or of a body that is not one."""

    error: str
    http_code: int
    details: str | UnsetType = UNSET


class Cpu(Struct):
    """Jiffies since boot."""

    total: int
    user: str
    system: str
    soft_irq: str


class Memory(Struct):
    """Kilobytes."""

    total: int
    free: int
    buffers: int
    cached: int
    swap_used: int
    shared: int
    slab: int


class Traffic(Struct):
    """Bytes through an interface."""

    network_tx: int
    network_rx: int


class Changes(Struct):
    """What became of changes since the agent started."""

    counts: dict[str, int]
    last: dict[str, Outcome]


class Details(Struct):
    """Versions and the facts of this moment. `changes`, `unsettled` and `watchers` are this agent's alone."""

    hostname: str
    haproxy_version: str
    api_version: str
    keepalived_version: str
    ipvsadm_version: str
    networks: dict[str, Traffic]
    active: bool
    haproxy_count: int
    lvs_listener_process_count: int
    cpu_count: int
    cpu: Cpu
    memory: Memory
    disk: Disk
    load: tuple[str, str, str]
    active_tuned_profiles: str
    topology: str
    topology_status: str
    listeners: list[str]
    packages: dict[str, str]
    changes: Changes
    unsettled: list[str]
    watchers: dict[str, WatcherState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One route.

    Attributes:
        summary: one sentence.
        body: type of its JSON body; a media type of any other; None without one.
        status: of a success.
        answer: type of its JSON answer, or a media type.
        has_etag: whether an MD5 stands in the header `ETag`.
    """

    summary: str
    body: Any = None
    status: int = 200
    answer: Any = Message
    has_etag: bool = False


_CONFIG, _PEM, _TEXT = "text/plain", "application/x-pem-file", "text/plain"
_LB, _LISTENERS = "/1.0/loadbalancer", "/1.0/listeners"

DESCRIBED: Mapping[str, Described] = {
    "GET /": Described(summary="Get the version of the API that the controller shall use.", answer=ApiVersion),
    "GET /1.0/info": Described(summary="Get versions.", answer=Versions),
    "GET /1.0/details": Described(summary="Get versions and the facts of this moment.", answer=Details),
    "GET /1.0/listeners": Described(summary="List the listeners.", answer=list[Listener]),
    f"PUT {_LB}/<amphora_name>/<lb_id>/haproxy": Described(
        summary="Store a load balancer's haproxy.cfg.", body=_CONFIG, status=202, has_etag=True
    ),
    f"GET {_LB}/<lb_id>/haproxy": Described(summary="Get the stored haproxy.cfg.", answer=_TEXT, has_etag=True),
    f"PUT {_LB}/<object_id>/<action>": Described(
        summary="Start, stop or reload a load balancer, or a UDP or SCTP listener.", status=202
    ),
    f"DELETE {_LISTENERS}/<object_id>": Described(summary="Delete a load balancer, or a UDP or SCTP listener."),
    f"PUT {_LISTENERS}/<amphora_name>/<listener_name>/udp_listener": Described(
        summary="Store keepalived's configuration of a UDP or SCTP listener.", body=_CONFIG, has_etag=True
    ),
    f"GET {_LISTENERS}/<listener_name>/udp_listener": Described(
        summary="Get the stored configuration of a UDP or SCTP listener.", answer=_TEXT
    ),
    "PUT /1.0/vrrp/upload": Described(summary="Store keepalived's configuration.", body=_CONFIG, has_etag=True),
    "PUT /1.0/vrrp/<action>": Described(summary="Start, stop or reload keepalived.", status=202),
    f"PUT {_LB}/<lb_id>/certificates/<filename>": Described(summary="Store a certificate.", body=_PEM, has_etag=True),
    f"GET {_LB}/<lb_id>/certificates/<filename>": Described(
        summary="Get the MD5 of a certificate.", answer=CertificateDigest, has_etag=True
    ),
    f"DELETE {_LB}/<lb_id>/certificates/<filename>": Described(summary="Delete a certificate."),
    "PUT /1.0/certificate": Described(summary="Replace the agent's own certificate.", body=_PEM, status=202),
    "PUT /1.0/config": Described(summary="Replace the agent's configuration.", body=_TEXT, status=202),
    "POST /1.0/plug/vip/<vip>": Described(
        summary="Move the VIP's NIC into the namespace and configure it.", body=schema.PlugVipBody, status=202
    ),
    "POST /1.0/plug/network": Described(
        summary="Move a NIC into the namespace and configure it.", body=schema.PlugNetworkBody, status=202
    ),
    "GET /1.0/interface/<ip>": Described(summary="Find the interface that has an address.", answer=Interface),
    "PUT /1.0/interface/<ip>/rules": Described(summary="Set what an SR-IOV VIP lets in.", body=schema.Rules),
}
# With either of two bodies.
FAULTS = (400, 404, 405, 409, 500, 503)
FAULT_BODIES = (Refusal, Error)
