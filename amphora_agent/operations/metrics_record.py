"""What the agent knows and `prometheus-proxy` shows, written after each change. Nothing while nobody asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.metrics.certificate import not_after
from amphora_agent.core.metrics.latency_source import sources
from amphora_agent.core.metrics.own import (
    APPLIES,
    APPLY_BUCKETS,
    APPLY_SECONDS,
    BUILD_INFO,
    CERTIFICATE_EXPIRY,
    CONFIG_REFUSED,
    GENERATION,
    LATENCY_SOURCE,
    RELOADS,
)
from amphora_agent.core.metrics.reasons import RELOAD_REASONS
from amphora_agent.core.metrics.record import histogram, render, sample
from amphora_agent.errors import HostFailure
from amphora_agent.host import files, packages
from amphora_agent.operations import inventory
from amphora_agent.operations.amphora import Change

LOG = logging.getLogger(__name__)

_MODE = 0o644


def write(change: Change) -> None:
    """Replace the record if there is a proxy to read it; a failure is logged."""
    if not files.exists(change.paths.metrics_proxy):
        return
    try:
        files.write_volatile(change.paths.agent_metrics, render(_lines(change)), _MODE)
    except HostFailure as error:
        LOG.warning("cannot write the metrics: %s: %s", error, error.detail)


def _lines(change: Change) -> Iterator[str]:
    yield from _changes(change)
    yield from _certificates(change)
    yield from _latency_sources(change)
    yield from _generations(change)


def _changes(change: Change) -> Iterator[str]:
    changes = change.changes
    yield sample(BUILD_INFO, (packages.own_version(),), 1)
    for (kind, reason), count in sorted(changes.reasons.items()):
        yield sample(APPLIES, (kind, reason), count)
    yield from histogram(APPLY_SECONDS, APPLY_BUCKETS, changes.durations, changes.seconds)
    reloads = {reason: count for (kind, reason), count in changes.reasons.items() if kind == "reload"}
    for cause, count in (dict.fromkeys(RELOAD_REASONS, 0) | reloads).items():
        yield sample(RELOADS, (cause,), count)
    yield sample(CONFIG_REFUSED, (), changes.refused)


def _certificates(change: Change) -> Iterator[str]:
    paths = change.paths
    tenants = (paths.loadbalancer(lb_id).certs for lb_id in inventory.loadbalancer_ids(paths))
    uses = {
        "agent": [paths.agent_cert],
        "controller_ca": [Path(change.started.agent_server_ca)],
        "listener": [file for directory in tenants for file in files.matching(directory, "*.pem")],
    }
    for use, candidates in uses.items():
        ends = [end for path in candidates if (end := _end_of(path)) is not None]
        if ends:
            yield sample(CERTIFICATE_EXPIRY, (use,), min(ends))


def _latency_sources(change: Change) -> Iterator[str]:
    for lb_id in inventory.loadbalancer_ids(change.paths):
        text = files.read_optional(change.paths.loadbalancer(lb_id).config) or b""
        config = parse(text.decode("utf-8", "replace"))
        for source in sources(config, is_wanted=change.started.latency_histograms):
            yield sample(LATENCY_SOURCE, source, 1)


def _generations(change: Change) -> Iterator[str]:
    if not files.exists(change.paths.documents):
        return
    from amphora_agent.core.document.stored import decode_stored  # noqa: PLC0415 - amphorae without documents go without

    for directory in files.matching(change.paths.documents, "*"):
        if is_id(directory.name):
            current = change.paths.document(LoadBalancerId(directory.name)).current
            stored = change.parsed.read(current, decode_stored)
            if stored is not None:
                yield sample(GENERATION, (directory.name,), stored.generation)


def _end_of(path: Path) -> int | None:
    try:
        return not_after(files.read_optional(path) or b"")
    except HostFailure:
        return None
