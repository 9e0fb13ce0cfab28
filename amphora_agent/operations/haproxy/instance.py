"""One load balancer's HAProxy as one request sees it: its files, its unit, its peer name. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.haproxy.config import peer_name
from amphora_agent.core.haproxy.process import config_files, environment_peer, haproxy_unit
from amphora_agent.core.ids import AmphoraId, LoadBalancerId, is_id
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.records import applied_config
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.units import Unit
from amphora_agent.errors import NotFound
from amphora_agent.host import files
from amphora_agent.host.haproxy.observe import master_pid
from amphora_agent.operations.amphora import Amphora


@dataclass(frozen=True, slots=True)
class Instance:
    """The files of one load balancer, the unit that serves it, and this amphora's name among its peers."""

    paths: LoadBalancerPaths
    unit: Unit
    peer: str

    @property
    def lb_id(self) -> LoadBalancerId:
        """Which load balancer it is."""
        return self.paths.lb_id


def instance_of(amphora: Amphora, lb_id: LoadBalancerId, peer: str | None = None) -> Instance:
    """Return a load balancer's instance, whether it is stored yet or not.

    Args:
        amphora: where it is.
        lb_id: a checked id.
        peer: this amphora's name among HAProxy's peers; None: as the last upload had it, or made from our own id.
    """
    own = amphora.paths.loadbalancer(lb_id)
    if peer is None:
        peer = _stored_peer(amphora, own)
    read = config_files(own, own.config, amphora.paths.user_group if files.exists(amphora.paths.user_group) else None)
    return Instance(own, haproxy_unit(own, amphora.paths.netns, amphora.started.haproxy_cmd, read, peer), peer)


def _stored_peer(amphora: Amphora, own: LoadBalancerPaths) -> str:
    data = files.read_optional(own.environment) or b""
    peer = environment_peer(data.decode("utf-8", "replace"))
    return peer or peer_name(AmphoraId(amphora.started.amphora_id or ""))


def exists(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether there is such a load balancer."""
    return is_id(lb_id) and files.is_file(amphora.paths.loadbalancer(lb_id).config)


def stored_config(amphora: Amphora, lb_id: LoadBalancerId) -> bytes:
    """Return the stored configuration.

    Raises:
        NotFound: there is no such load balancer.
    """
    data = files.read_optional(amphora.paths.loadbalancer(lb_id).config) if is_id(lb_id) else None
    if data is None:
        raise NotFound("Loadbalancer Not Found", f"No loadbalancer with UUID: {lb_id}")
    return data


def read_applied(own: LoadBalancerPaths) -> AppliedConfig | None:
    """Return what the running HAProxy was last given, None when that is not known."""
    return applied_config.decode(files.read_optional(own.applied))


def is_running(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether the load balancer's HAProxy runs, whoever started it.

    Raises:
        HostFailure: the supervisor does not say.
    """
    return master_pid(amphora.paths.loadbalancer(lb_id)) is not None or is_alive(amphora, instance_of(amphora, lb_id))


def is_alive(amphora: Amphora, instance: Instance) -> bool:
    """Tell whether the HAProxy that our supervisor looks after runs; see `is_running`."""
    return amphora.supervisor.main_pid(instance.unit) is not None
