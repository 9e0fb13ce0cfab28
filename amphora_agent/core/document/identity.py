"""The ids of a document's objects, made from their names. Deterministic: the same names give the same ids everywhere.

Decision: objects are known by name to people and by UUID to HAProxy, keepalived and heartbeats, as the controller's
are. Two amphorae of a pair agree on them without talking, which the peers' tables and failover need; a name never
reaches a configuration. Renaming a member replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id

_ROOT = UUID("6f6f1b0f-3c0e-5d0a-9b57-2a54c2f3e9d1")
# In no name, so that no two paths of names are one text.
_SEPARATOR = "\n"


def loadbalancer_id(name: str) -> LoadBalancerId:
    """Return the id of a load balancer by its name; a UUID is its own."""
    return LoadBalancerId(name if is_id(name) else str(uuid5(_ROOT, name)))


@dataclass(frozen=True, slots=True)
class Identity:
    """What names become in one load balancer."""

    loadbalancer_id: LoadBalancerId

    def listener(self, name: str) -> ListenerId:
        """Return the id of a listener."""
        return ListenerId(self._id("listener", name))

    def pool(self, name: str) -> str:
        """Return the id of a pool."""
        return self._id("pool", name)

    def member(self, pool: str, name: str) -> str:
        """Return the id of a member."""
        return self._id("member", pool, name)

    def monitor(self, pool: str) -> str:
        """Return the id of a pool's health monitor."""
        return self._id("healthmonitor", pool)

    def rule(self, listener: str, policy: str, position: int) -> str:
        """Return the id of a policy's rule; rules have no names, so it is counted by its place."""
        return self._id("rule", listener, policy, str(position))

    def allowed(self, listener: str) -> str:
        """Return the id of the condition that a client may use a listener."""
        return self._id("allowed", listener)

    def secret(self, name: str) -> str:
        """Return the id of a secret."""
        return self._id("secret", name)

    def backend(self, pool: str, listener: str) -> str:
        """Return what HAProxy calls a pool behind a listener: `<pool id>:<listener id>`."""
        return f"{self.pool(pool)}:{self.listener(listener)}"

    def _id(self, *names: str) -> str:
        return _made_of(self.loadbalancer_id, *names)


def _made_of(*names: str) -> str:
    return str(uuid5(_ROOT, _SEPARATOR.join(names)))
