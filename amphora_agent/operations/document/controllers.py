"""What API 2.0 tells of a load balancer that a controller wrote, which has ids for names. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.document.place import Place
from amphora_agent.core.document.plan import Plan, plan_of
from amphora_agent.core.document.status import LoadBalancerStatus, Role, derive_served
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.records.drained import DrainedServer
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import observe
from amphora_agent.operations.haproxy import drains, follow, stored_files
from amphora_agent.operations.haproxy.instance import instance_of, stored_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A controller's load balancer at this moment."""

    lb_id: LoadBalancerId
    status: LoadBalancerStatus
    part: Part
    drained: tuple[DrainedServer, ...]
    role: Role | None


def plan(amphora: Amphora, lb_id: LoadBalancerId) -> Plan:
    """Return what would make what runs equal to what is stored.

    Raises:
        NotFound: there is no such load balancer.
    """
    stored = stored_files.gather(amphora, stored_config(amphora, lb_id).decode("utf-8", "replace"))
    decision = follow.look(amphora, instance_of(amphora, lb_id), stored).decision
    return plan_of(decision, Place(lb_id, amphora.paths), documents=())


def report(amphora: Amphora, lb_id: LoadBalancerId) -> Report:
    """Return how a controller's load balancer is; takes no lock."""
    serving = observe.look_at_haproxy(amphora, lb_id)
    return Report(
        lb_id=lb_id,
        status=derive_served(lb_id, serving.part, serving.checks),
        part=serving.part,
        drained=drains.drained(amphora, lb_id),
        role=observe.role(amphora),
    )
