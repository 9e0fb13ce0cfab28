"""The configurations behind a document: as they are written, and as they run. Passwords are left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.document.place import Place, lvs_listeners
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.host import files
from amphora_agent.operations import ownership
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import store
from amphora_agent.operations.haproxy.instance import read_applied
from amphora_agent.operations.keepalived import life_cycle
from amphora_agent.operations.keepalived.life_cycle import Keepalived

_PASSWORD = re.compile(r"(?m)^(\s*auth_pass\s+)\S+")


@dataclass(frozen=True, slots=True)
class Texts:
    """HAProxy's text, that of each LVS listener by its name, the pair's; None without one."""

    haproxy: str | None
    lvs: dict[str, str]
    vrrp: str | None


def rendered(amphora: Amphora, lb_id: LoadBalancerId) -> Texts:
    """Return what is written; of a controller's load balancer HAProxy's text alone."""
    return _texts(amphora, lb_id, _text(amphora.paths.loadbalancer(lb_id).config), lambda each: _text(each.config))


def running(amphora: Amphora, lb_id: LoadBalancerId) -> Texts:
    """Return what was given to what runs; of a controller's load balancer to HAProxy alone."""
    applied = read_applied(amphora.paths.loadbalancer(lb_id))
    return _texts(amphora, lb_id, None if applied is None else applied.config, _given)


def _given(keepalived: Keepalived) -> str | None:
    record = life_cycle.recorded(keepalived)
    return None if record is None else record.config


def _texts(
    amphora: Amphora, lb_id: LoadBalancerId, haproxy: str | None, text_of: Callable[[Keepalived], str | None]
) -> Texts:
    stored = store.find(amphora, lb_id)
    identity = Place(lb_id, amphora.paths).identity
    lvs = {
        each.name: text_of(life_cycle.of_listener(amphora.paths, identity.listener(each.name)))
        for each in (() if stored is None else lvs_listeners(stored.document))
    }
    has_vrrp = ownership.vrrp_owner(amphora.paths) == lb_id
    vrrp = text_of(life_cycle.of_vrrp(amphora.paths)) if has_vrrp else None
    return Texts(
        haproxy=haproxy,
        lvs={name: text for name, text in lvs.items() if text is not None},
        vrrp=None if vrrp is None else _PASSWORD.sub(r"\1***", vrrp),
    )


def _text(path: Path) -> str | None:
    data = files.read_optional(path)
    return None if data is None else data.decode("utf-8", "replace")
