"""How a load balancer is: its document, what serves it, and what is between the two."""

from __future__ import annotations

from dataclasses import dataclass, replace

from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place, haproxy_listeners, lvs_listeners
from amphora_agent.core.document.status import LoadBalancerStatus, Operating, Role, derive
from amphora_agent.core.document.stored import Stored, served
from amphora_agent.core.haproxy.change import Nothing, Permissions, decide
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.host.haproxy.master import ask_worker
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import observe, store
from amphora_agent.operations.haproxy import instance, stored_files
from amphora_agent.operations.keepalived import lvs_listeners as lvs
from amphora_agent.operations.keepalived import vrrp


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
        trouble=_trouble(amphora, lb_id, stored.document),
    )


def _trouble(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> str:
    if store.is_unfinished(amphora, lb_id):
        return "a change is under way, or did not end"
    identity = Place(lb_id, amphora.paths).identity
    for listener in lvs_listeners(document):
        if not lvs.is_alive(amphora, identity.listener(listener.name)):
            return f"the keepalived of listener {listener.name} does not run"
    if document.vrrp is not None and not vrrp.is_alive(amphora):
        return "the keepalived of the pair does not run"
    return _trouble_of_haproxy(amphora, lb_id) if haproxy_listeners(document) else ""


def _trouble_of_haproxy(amphora: Amphora, lb_id: LoadBalancerId) -> str:
    """Return why HAProxy would have to be started, changed or reloaded; empty when it runs what is stored.

    One that somebody else has started, after a reboot say, has read what is stored.
    """
    own = amphora.paths.loadbalancer(lb_id)
    if not instance.exists(amphora, lb_id):
        return "no configuration of HAProxy is stored"
    stored = stored_files.gather(amphora, instance.stored_config(amphora, lb_id).decode("utf-8", "replace"))
    worker, applied = ask_worker(own.admin_socket), instance.read_applied(own)
    if worker is not None and applied is not None and applied.worker != worker.process:
        applied = replace(applied, worker=worker.process, is_unfinished=False)
    decision = decide(applied, stored, None if worker is None else worker.process, Permissions(), amphora.texts.parse)
    return "" if isinstance(decision, Nothing) else decision.reason
