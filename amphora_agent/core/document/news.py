"""What is new between two looks at a load balancer, in words for events. Pure; asks nobody and knows no clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amphora_agent.core.document.status import LoadBalancerStatus, MemberStatus, Operating, Role

# Of a member behind several listeners, the first of these is told.
_WORST_FIRST = (
    Operating.ERROR,
    Operating.OFFLINE,
    Operating.DRAINING,
    Operating.DEGRADED,
    Operating.NO_MONITOR,
    Operating.ONLINE,
)
_DAY = 86_400
SOON_SECONDS = 14 * _DAY


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw: "web/w1" -> status of each member, and the role in a pair."""

    members: Mapping[str, MemberStatus]
    role: Role | None


def sight(status: LoadBalancerStatus, role: Role | None) -> Sight:
    """Return what there is to compare of a load balancer."""
    members: dict[str, MemberStatus] = {}
    for listener in status.listeners:
        for pool in listener.pools:
            for member in pool.members:
                name = f"{pool.name}/{member.name}"
                members[name] = min(members.get(name, member), member, key=_badness)
    return Sight(members, role)


def _badness(member: MemberStatus) -> int:
    return _WORST_FIRST.index(member.operating)


def member_news(before: Sight, now: Sight) -> Iterator[tuple[str, str]]:
    """Yield name and "ONLINE -> ERROR L4TOUT" of each member whose status is another; new and gone ones are no news."""
    for name, member in now.members.items():
        was = before.members.get(name)
        if was is not None and was.operating is not member.operating:
            yield name, f"{was.operating} -> {member.operating} {member.reason}".rstrip()


def role_news(before: Sight, now: Sight) -> str:
    """Return "BACKUP -> MASTER"; empty when the role is the same, or there was none or is none."""
    return f"{before.role} -> {now.role}" if before.role and now.role and before.role is not now.role else ""


def certificate_news(end: int, now: float) -> str:
    """Return in words that a certificate ends soon or has ended; empty when it does not.

    Args:
        end: seconds since the epoch, as is `now`.
        now: the moment to compare with.
    """
    if end - now > SOON_SECONDS:
        return ""
    at = dt.datetime.fromtimestamp(end, dt.UTC).isoformat().replace("+00:00", "Z")
    return f"ends {at}, in {int((end - now) // _DAY)} days" if end > now else f"ended {at}"
