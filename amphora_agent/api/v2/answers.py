"""What API 2.0 answers, as types: OpenAPI is made from them, and every answer is one of them."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from amphora_agent.core.document.model import HostRoute

Owner = Literal["api2", "controller"]
DecisionWord = Literal["nothing", "runtime", "reload", "start"]
OperatingWord = Literal["ONLINE", "DRAINING", "OFFLINE", "DEGRADED", "ERROR", "NO_MONITOR"]


class _Answer(Struct, frozen=True, kw_only=True):
    """What all answers have in common."""


class Fault(_Answer, frozen=True):
    """One thing to correct: where it is for programs (RFC 6901) and for people, what is wrong, what would be right."""

    pointer: str
    where: str
    detail: str
    expected: str


class ProblemAnswer(_Answer, frozen=True):
    """An error, as RFC 9457 has it. `errors` of documents, `etag` (null: nothing is there) of preconditions."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] | UnsetType = UNSET
    etag: str | UnsetType | None = UNSET


class LoadBalancer(_Answer, frozen=True):
    """One load balancer of this amphora; what a controller wrote has its id for a name, and no document."""

    id: str
    name: str
    owner: Owner
    generation: int
    etag: str | None


class Step(_Answer, frozen=True):
    """One thing that is done: "add", "member web/w3"."""

    do: str
    subject: str


class Change(_Answer, frozen=True):
    """One object that differs: `+` added, `-` removed, `~` changed."""

    kind: Literal["+", "-", "~"]
    pointer: str
    where: str
    detail: str


class Outcome(_Answer, frozen=True):
    """What became of a document, or would in a dry run.

    `seconds` it took; null in a dry run. `ignored`: pointers of fields that were passed over. `diff`: of haproxy.cfg,
    in dry runs. `revert_at`: when it is taken back unless it is confirmed.
    """

    id: str
    name: str
    generation: int
    etag: str
    dry_run: bool
    decision: DecisionWord
    reason: str
    reload: bool
    seconds: float | None
    steps: tuple[Step, ...]
    differences: tuple[Change, ...]
    ignored: tuple[str, ...]
    diff: str
    revert_at: dt.datetime | None


class DrainedBy(_Answer, frozen=True):
    """Who drained a member, and when."""

    by: str
    since: dt.datetime


class MemberStatus(_Answer, frozen=True):
    """One member behind one listener; `reason` of its last check, `seconds` since its state changed."""

    name: str
    operating: OperatingWord
    reason: str
    detail: str
    seconds: int | None
    drained: DrainedBy | None


class PoolStatus(_Answer, frozen=True):
    """One pool behind one listener."""

    name: str
    operating: OperatingWord
    reason: str
    members: tuple[MemberStatus, ...]


class ListenerStatus(_Answer, frozen=True):
    """One listener: its `connections` of this moment, and all that its present worker has had."""

    name: str
    operating: OperatingWord
    reason: str
    connections: int
    total_connections: int
    pools: tuple[PoolStatus, ...]


class Condition(_Answer, frozen=True):
    """Accepted: the document is valid. Programmed: what serves is what it says. Healthy: nothing is in trouble."""

    type: Literal["Accepted", "Programmed", "Healthy"]
    status: bool
    reason: str


class LastApply(_Answer, frozen=True):
    """How the document came to be served."""

    at: dt.datetime
    by: str
    decision: str
    reason: str
    seconds: float


class Status(_Answer, frozen=True):
    """A load balancer at this moment, in Octavia's words."""

    id: str
    name: str
    owner: Owner
    generation: int
    observed_generation: int
    conditions: tuple[Condition, ...]
    operating: OperatingWord
    role: Literal["MASTER", "BACKUP", "FAULT"] | None
    listeners: tuple[ListenerStatus, ...]
    unused_pools: tuple[str, ...]
    last_apply: LastApply | None


class Texts(_Answer, frozen=True):
    """Configurations: HAProxy's, keepalived's of each LVS listener by its name, and the pair's without its password."""

    haproxy: str | None
    lvs: dict[str, str]
    vrrp: str | None


class Revision(_Answer, frozen=True):
    """One of the last documents."""

    number: int
    at: dt.datetime
    by: str
    decision: str
    reason: str
    etag: str


class Secret(_Answer, frozen=True):
    """What may be told of a secret; the secret itself is never returned."""

    name: str
    kind: Literal["certificate", "authority", "revocations", "password"]
    subject: str
    names: tuple[str, ...]
    not_after: dt.datetime | None
    sha256: str
    used_by: tuple[str, ...]


class StoredSecret(_Answer, frozen=True):
    """A secret that was stored, and what came of the load balancers that use it."""

    secret: Secret
    applied: tuple[Outcome, ...]


class EventAnswer(_Answer, frozen=True):
    """One thing that happened."""

    sequence: int
    at: dt.datetime
    kind: str
    loadbalancer: str | None
    subject: str
    detail: str


class Events(_Answer, frozen=True):
    """What happened after a sequence; `lost`: some of it is no longer known."""

    latest: int
    lost: bool
    events: tuple[EventAnswer, ...]


class Health(_Answer, frozen=True):
    """Requests are served."""

    status: Literal["ok"]


class Versions(_Answer, frozen=True):
    """Versions of the agent, of its APIs, and of the programs it drives; empty where one is not installed."""

    agent: str
    api: tuple[str, ...]
    haproxy: str
    keepalived: str


class Interface(_Answer, frozen=True):
    """An interface in the namespace as it is wanted; MTU in bytes, null: it is left alone."""

    name: str
    mac: str
    addresses: tuple[str, ...]
    vips: tuple[str, ...]
    gateways: tuple[str, ...]
    mtu: int | None
    routes: tuple[HostRoute, ...]


class InterfaceOutcome(Interface, frozen=True):
    """What became of an interface, or would in a dry run: the steps in words, in their order."""

    dry_run: bool
    steps: tuple[str, ...]
