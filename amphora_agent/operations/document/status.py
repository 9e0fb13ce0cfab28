"""How a load balancer is: its document, what serves it, and what is between the two."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.document.place import Place
from amphora_agent.core.document.status import LoadBalancerStatus, Operating, Role, derive
from amphora_agent.core.document.stored import Stored, served
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import observe, store
from amphora_agent.operations.haproxy import instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A load balancer at this moment.

    Attributes:
        status: the tree, in the document's names.
        part: what is served, as heartbeats would say it.
        listener_ids: listener name -> id.
        role: of a pair's amphora, None without a pair.
        trouble: why what serves is not what the document says; empty when it is.
    """

    stored: Stored
    status: LoadBalancerStatus
    part: Part
    listener_ids: dict[str, str]
    role: Role | None
    trouble: str

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is in trouble."""
        return not self.trouble and self.status.operating in {Operating.ONLINE, Operating.NO_MONITOR}


def report(amphora: Amphora, lb_id: LoadBalancerId) -> Report:
    """Return how a load balancer is; takes no lock.

    Raises:
        NotFound: no document of it.
    """
    stored = store.get(amphora, lb_id)
    identity = Place(lb_id, amphora.paths).identity
    serving = observe.look(amphora, lb_id, stored.document)
    return Report(
        stored=stored,
        status=derive(served(stored.document, stored.drained), identity, serving.part, serving.checks),
        part=serving.part,
        listener_ids={each.name: identity.listener(each.name) for each in stored.document.listeners},
        role=observe.role(amphora),
        trouble=_trouble(amphora, lb_id),
    )


def _trouble(amphora: Amphora, lb_id: LoadBalancerId) -> str:
    if store.is_unfinished(amphora, lb_id):
        return "a change is under way, or did not end"
    if not instance.exists(amphora, lb_id):
        return ""
    applied = instance.read_applied(amphora.paths.loadbalancer(lb_id))
    if applied is None:
        return "what HAProxy runs is not known"
    is_stored = applied.config.encode() == instance.stored_config(amphora, lb_id)
    return "" if is_stored else "HAProxy does not run what is stored"
