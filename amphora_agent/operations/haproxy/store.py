"""Store and delete a load balancer: HAProxy itself validates what is stored. Starts and reloads nothing.

Order of every change: validate, make durable, then touch the running process; what is on disk is always the truth.
"""

from __future__ import annotations

import logging
from pathlib import Path

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.audit import unexpected_lines
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import AmphoraId, LoadBalancerId
from amphora_agent.errors import InvalidRequest, reported_as
from amphora_agent.host import commands, files
from amphora_agent.host.haproxy import binary as haproxy_binary
from amphora_agent.operations import metrics_proxy, metrics_record
from amphora_agent.operations.amphora import Change
from amphora_agent.operations.haproxy import stored_files
from amphora_agent.operations.haproxy.instance import Instance, instance_of, read_applied
from amphora_agent.operations.keepalived import vrrp

LOG = logging.getLogger(__name__)

CHECK_TIMEOUT = 55.0
MAX_SHOWN_LINES = 3
MAX_SHOWN_LINE = 120


def upload(change: Change, amphora_id: AmphoraId, lb_id: LoadBalancerId, body: bytes) -> None:
    """Validate a configuration with HAProxy itself and store it; the running process is not touched.

    A rejected one is kept as `haproxy.cfg.new-failed`, and the one before it stays in force.

    Raises:
        InvalidRequest: not UTF-8, or HAProxy rejects it (its words in the detail).
        HostFailure: the disk or HAProxy's binary failed; nothing changed.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("Invalid request", f"the configuration is not UTF-8: {error.reason}") from error
    instance = instance_of(change, lb_id, amphora_id)
    version = haproxy_binary.installed_version(change.started.haproxy_cmd)
    text = haproxy_config.rewrite_for(text, version)
    files.make_directory(instance.paths.directory)
    files.make_directory(instance.paths.agent, 0o700)
    _write_companions(change, instance, version)
    stored = files.read_optional(instance.paths.config)
    if stored != text.encode() or not _is_applied(instance, stored):
        _check_and_store(change, instance, text)
    with reported_as("Error enabling octavia-keepalived service"):  # the contract's words
        change.supervisor.enable(instance.unit)
    LOG.info("stored a configuration lb=%s bytes=%d", lb_id, len(text.encode()))


def delete(change: Change, lb_id: LoadBalancerId) -> None:
    """Stop HAProxy and remove everything of the load balancer; one that is not there is fine.

    Raises:
        HostFailure: it could not be stopped; nothing was removed.
    """
    own = change.paths.loadbalancer(lb_id)
    if not own.config.exists() and not own.directory.exists():
        return
    instance = instance_of(change, lb_id)
    if change.paths.vrrp.check_script.exists():
        vrrp.refresh_checks(change, leaving=lb_id)
    with reported_as("Error stopping haproxy"):
        change.supervisor.stop(instance.unit)
    change.supervisor.disable(instance.unit)
    for path in (own.stats_socket, own.certs, own.agent, own.directory):
        files.remove(path)
    change.changes.forget(lb_id)
    metrics_proxy.follow(change)
    LOG.info("deleted lb=%s", lb_id)


def _is_applied(instance: Instance, stored: bytes) -> bool:
    """Tell whether the stored text and every file it names are what HAProxy accepted last."""
    applied = read_applied(instance.paths)
    if applied is None or applied.config.encode() != stored:
        return False
    return applied.digests == stored_files.gather(applied.config).digests


def _check_and_store(change: Change, instance: Instance, text: str) -> None:
    candidate = instance.paths.config.with_name("haproxy.cfg.new")
    files.write_volatile(candidate, text.encode())
    _check(change, instance, candidate)
    _warn_of_the_unexpected(instance.lb_id, text)
    files.rename_durable(candidate, instance.paths.config)


def _check(change: Change, instance: Instance, candidate: Path) -> None:
    read = haproxy_process.config_files(instance.paths, candidate, _group_file(change))
    done = commands.run(
        haproxy_process.check_argv(change.started.haproxy_cmd, read, instance.peer), timeout=CHECK_TIMEOUT
    )
    if done.code != 0:
        change.changes.refused += 1
        metrics_record.write(change)
        files.rename_durable(candidate, candidate.with_name("haproxy.cfg.new-failed"))
        raise InvalidRequest("Invalid request", done.output)


def _warn_of_the_unexpected(lb_id: LoadBalancerId, text: str) -> None:
    """Warn when a configuration holds lines no controller writes: a tenant's value may have become a directive."""
    unexpected = unexpected_lines(haproxy_config.parse(text))
    if unexpected:
        shown = "; ".join(line[:MAX_SHOWN_LINE] for line in unexpected[:MAX_SHOWN_LINES])
        LOG.warning("unexpected lines in a configuration lb=%s count=%d: %s", lb_id, len(unexpected), shown)


def _write_companions(change: Change, instance: Instance, version: Version) -> None:
    """Write our second HAProxy file and the template unit's environment, where they differ."""
    own, settings, group_file = instance.paths, change.started, _group_file(change)
    group = None if group_file is not None else haproxy_binary.worker_group()
    read = haproxy_process.config_files(own, own.config, group_file)
    environment = haproxy_process.environment(own, settings.haproxy_cmd, read, instance.peer)
    files.write_if_changed(own.agent_config, haproxy_process.agent_config(own, settings, version, group).encode())
    files.write_if_changed(own.environment, environment.encode())


def _group_file(change: Change) -> Path | None:
    """Return the image's file that names HAProxy's group, None outside an image."""
    return change.paths.user_group if change.paths.user_group.exists() else None
