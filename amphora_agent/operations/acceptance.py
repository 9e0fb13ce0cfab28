"""What HAProxy and the configuration firewall accepted; remembered for as long as the agent runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amphora_agent.core.haproxy.firewall import KnownMembers
from amphora_agent.core.ids import LoadBalancerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A configuration that HAProxy accepted as a whole.

    Attributes:
        digest: of its text.
        surroundings: digest of everything else that was read, but for the files the configuration names.
        files: digest of each of those by path.
        is_reducible: its next changes can be checked without the rest.
    """

    digest: str
    surroundings: str
    files: Mapping[str, str]
    is_reducible: bool


@dataclass(slots=True)
class Acceptances:
    """Written by changes, one at a time; `is_distrusted` once a change alone was accepted, and the whole refused."""

    last: dict[LoadBalancerId, Accepted] = field(default_factory=dict)
    members: dict[LoadBalancerId, KnownMembers] = field(default_factory=dict)
    is_distrusted: bool = False

    def forget(self, lb_id: LoadBalancerId) -> None:
        """Forget a load balancer that is deleted."""
        self.last.pop(lb_id, None)
        self.members.pop(lb_id, None)
