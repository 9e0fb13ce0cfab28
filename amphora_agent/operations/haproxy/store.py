"""Store and delete a load balancer: HAProxy itself validates what is stored. Starts and reloads nothing.

Order of every change: validate, make durable, then touch the running process; what is on disk is always the truth.
"""

from __future__ import annotations

import logging

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.errors import InvalidRequest, reported_as
from amphora_agent.host import files
from amphora_agent.host.haproxy import binary as haproxy_binary
from amphora_agent.operations import metrics_proxy
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.haproxy import checks, firewall, foreign, stored_files
from amphora_agent.operations.haproxy.instance import Instance, instance_of, read_applied
from amphora_agent.operations.keepalived import vrrp

LOG = logging.getLogger(__name__)


def upload(change: Change, peer: str, lb_id: LoadBalancerId, body: bytes) -> None:
    """Validate a configuration with HAProxy itself and store it; the running process is not touched.

    A rejected one is kept as `haproxy.cfg.new-failed`, and the one before it stays in force.

    Args:
        change: where.
        peer: this amphora's name among HAProxy's peers.
        lb_id: of which load balancer.
        body: the configuration.

    Raises:
        InvalidRequest: not UTF-8, the firewall refuses it, or HAProxy rejects it (its words in the detail).
        HostFailure: the disk or HAProxy's binary failed; nothing changed.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("Invalid request", f"the configuration is not UTF-8: {error.reason}") from error
    firewall.admit(change, lb_id, text)
    instance = instance_of(change, lb_id, peer)
    version = haproxy_binary.installed_version(change.started.haproxy_cmd)
    text = haproxy_config.rewrite_for(text, version)
    files.make_directory(instance.paths.directory)
    files.make_directory(instance.paths.agent, 0o700)
    _write_agent_config(change, instance, version)
    stored = files.read_optional(instance.paths.config)
    if stored != text.encode() or not _is_applied(change, instance, stored):
        checks.check_and_store(change, instance, text)
    _write_environment(change, instance)
    with reported_as("Error enabling octavia-keepalived service"):  # the contract's words
        change.supervisor.enable(instance.unit)
    LOG.info("stored a configuration lb=%s bytes=%d", lb_id, len(text.encode()))


def delete(change: Change, lb_id: LoadBalancerId) -> None:
    """Stop HAProxy and remove everything of the load balancer; one that is not there is fine.

    Raises:
        HostFailure: it could not be stopped, and nothing was removed; or not all could be removed, which the next start
            or the same call again finishes.
    """
    own = change.paths.loadbalancer(lb_id)
    if not files.exists(own.directory):
        if files.exists(own.deleted):
            _finish_deletion(change, own)
        return
    instance = instance_of(change, lb_id)
    if files.exists(change.paths.vrrp.check_script):
        vrrp.refresh_checks(change, leaving=lb_id)
    with reported_as("Error stopping haproxy"):
        change.supervisor.stop(instance.unit)
        foreign.end(change, instance)
    files.make_directory(own.agent, 0o700)
    files.remove(own.deleted)
    files.move_away(own.directory, own.deleted)
    _finish_deletion(change, own)
    metrics_proxy.follow(change)
    LOG.info("deleted lb=%s", lb_id)


def finish_deletions(change: Change) -> None:
    """Remove what a deletion that was cut short left; called when the agent starts.

    Raises:
        HostFailure: something is still there.
    """
    for path in files.matching(change.paths.agent, "*/deleted"):
        if is_id(path.parent.name):
            own = change.paths.loadbalancer(LoadBalancerId(path.parent.name))
            if files.exists(own.directory):  # stored again since
                files.remove(own.deleted)
            else:
                _finish_deletion(change, own)
                LOG.info("finished the deletion of lb=%s", own.lb_id)


def _finish_deletion(change: Change, own: LoadBalancerPaths) -> None:
    """Remove all that is left of a load balancer that nobody finds any more; our own directory, which says so, last."""
    change.supervisor.disable(instance_of(change, own.lb_id).unit)
    for path in (own.stats_socket, own.certs, own.deleted, own.agent):
        files.remove(path)
    change.changes.forget(own.lb_id)
    change.acceptances.forget(own.lb_id)


def _is_applied(change: Change, instance: Instance, stored: bytes) -> bool:
    """Tell whether the stored text and every file it names are what HAProxy accepted last."""
    applied = read_applied(instance.paths)
    if applied is None or applied.config.encode() != stored:
        return False
    return applied.digests == stored_files.gather(change, applied.config).digests


def _write_agent_config(change: Change, instance: Instance, version: Version) -> None:
    """Write our second HAProxy file where it differs; it follows from our settings alone."""
    own = instance.paths
    group = None if checks.group_file(change) is not None else haproxy_binary.worker_group()
    text = haproxy_process.agent_config(own, change.started, version, group)
    files.write_if_changed(own.agent_config, text.encode())


def _write_environment(change: Change, instance: Instance) -> None:
    """Write the template unit's environment where it differs: the peer's name is of the upload that was accepted."""
    own = instance.paths
    read = haproxy_process.config_files(own, own.config, checks.group_file(change))
    environment = haproxy_process.environment(own, change.started.haproxy_cmd, read, instance.peer)
    files.write_if_changed(own.environment, environment.encode())
