"""What the doctor sees of each load balancer's HAProxy, from files, processes and the master's socket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from amphora_agent.core.doctor.facts import Haproxy
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.memory import worker_bytes
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import LoadBalancerPaths, Paths
from amphora_agent.core.records import applied_config
from amphora_agent.errors import HostFailure
from amphora_agent.host import files
from amphora_agent.host.haproxy.master import processes
from amphora_agent.host.haproxy.observe import master_pid


def observe(paths: Paths) -> Iterator[Haproxy]:
    """Yield every load balancer that has a configuration."""
    for path in sorted(paths.base.glob("*/haproxy.cfg")):
        if is_id(path.parent.name):
            yield _observe(paths.loadbalancer(LoadBalancerId(path.parent.name)))


def _observe(own: LoadBalancerPaths) -> Haproxy:
    text = (files.read_optional(own.config) or b"").decode("utf-8", "replace")
    known = processes(own.master_socket)
    is_running = master_pid(own) is not None
    return Haproxy(
        loadbalancer=own.lb_id,
        is_stopped=own.stopped.exists(),
        is_running=is_running,
        is_current=_is_current(own, text) if is_running else None,
        old_workers=tuple(worker.uptime for worker in known.old_workers) if known is not None else (),
        failed_reloads=known.failed if known is not None else 0,
        needs=worker_bytes(haproxy_config.parse(text)),
        reload_only=(files.read_optional(own.reload_only) or b"").decode("utf-8", "replace").strip(),
    )


def _is_current(own: LoadBalancerPaths, text: str) -> bool | None:
    applied = applied_config.decode(files.read_optional(own.applied))
    if applied is None:
        return None
    return applied.config == text and all(_is_same(path, digest) for path, digest in _of_files(applied.digests))


def _of_files(digests: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    for path, digest in digests.items():
        yield Path(path), digest


def _is_same(path: Path, digest: str) -> bool:
    """Tell whether a file is what HAProxy was given; one that we may not read counts as the same."""
    try:
        data = files.read_named(path)
    except HostFailure:
        return True
    return data is not None and hashlib.sha256(data).hexdigest() == digest
