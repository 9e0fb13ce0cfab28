"""Read endpoints about the amphora itself."""

from __future__ import annotations

from dataclasses import asdict

from flask.typing import ResponseReturnValue

from amphora_agent.operations import info
from amphora_agent.operations.amphora import Amphora


def get_api_version(_: Amphora) -> ResponseReturnValue:
    """GET /: the controller uses the value as a URL prefix, so it is exactly `1.0`."""
    return {"api_version": info.API_VERSION}


def get_info(amphora: Amphora) -> ResponseReturnValue:
    """GET info."""
    return asdict(info.versions(amphora))


def get_details(amphora: Amphora) -> ResponseReturnValue:
    """GET details; `cpu` has strings where the contract has them, `changes`, `watchers` and `unsettled` are ours."""
    details = info.details(amphora)
    return {
        **asdict(details.versions),
        "networks": details.networks,
        "active": True,
        "haproxy_count": details.haproxy_count,
        "lvs_listener_process_count": details.lvs_listener_process_count,
        "cpu_count": details.cpu.count,
        "cpu": {
            "total": details.cpu.total,
            "user": str(details.cpu.user),
            "system": str(details.cpu.system),
            "soft_irq": str(details.cpu.soft_irq),
        },
        "memory": details.memory,
        "disk": asdict(details.disk),
        "load": details.load,
        "active_tuned_profiles": details.active_tuned_profiles,
        "topology": "SINGLE",
        "topology_status": "OK",
        "listeners": details.listeners,
        "packages": {},
        "changes": {
            "counts": details.changes,
            "last": {lb_id: asdict(outcome) for lb_id, outcome in details.last_changes.items()},
        },
        "unsettled": details.unsettled,
        "watchers": {name: asdict(state) for name, state in details.watchers.items()},
    }


def get_listeners(amphora: Amphora) -> ResponseReturnValue:
    """GET listeners."""
    return [asdict(listener) for listener in info.listeners(amphora)]
