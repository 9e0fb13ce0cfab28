"""Operating statuses of a document's objects in Octavia's words, with what the last check said. Pure.

Takes what the heartbeat would report, so that `GET status` and the controller's view of the same amphora agree.

Source: Octavia API reference v2, "Operating Status Codes"; what its health manager makes of each word in a heartbeat.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from amphora_agent.core.document.identity import Identity
from amphora_agent.core.document.model import Document, Listener, Member, Pool
from amphora_agent.core.document.place import LVS_PROTOCOLS, pools_behind
from amphora_agent.core.heartbeat import document as heartbeat

_LONGEST_DETAIL = 100
_COLUMNS = ("pxname", "svname", "check_status", "check_code", "lastchg", "last_chk")


class Operating(StrEnum):
    """Octavia's operating statuses."""

    ONLINE = "ONLINE"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    NO_MONITOR = "NO_MONITOR"


class Role(StrEnum):
    """What an amphora of a pair is; FAULT: its keepalived does not run."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"


# What the words of a heartbeat begin with, and what they mean with the reason for it.
_MEMBER_WORDS = {
    "UP": (Operating.ONLINE, ""),
    "DOWN": (Operating.ERROR, ""),
    "DRAIN": (Operating.DRAINING, "draining"),
    "NOLB": (Operating.DRAINING, "stopping"),
    "MAINT": (Operating.OFFLINE, "in maintenance"),
    "no check": (Operating.NO_MONITOR, ""),
    "RESTARTING": (Operating.ONLINE, "the first check is under way"),
}

_LISTENER_WORDS = {"OPEN": Operating.ONLINE, "FULL": Operating.DEGRADED}
_DRAINED_BY_WEIGHT = frozenset({Operating.DRAINING, Operating.ONLINE, Operating.NO_MONITOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCheck:
    """What HAProxy says of a server's last check.

    Attributes:
        reason: HAProxy's code for it and, of an answer, the HTTP status: "L4TOUT", "L7STS 503"; empty without one.
        detail: its words; part of them may be the server's.
        seconds: since the state last changed, None when it does not say.
    """

    reason: str
    detail: str
    seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One member behind one listener."""

    name: str
    operating: Operating
    reason: str
    detail: str = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """One pool behind one listener."""

    name: str
    operating: Operating
    reason: str
    members: tuple[MemberStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatus:
    """One listener and the pools it can send to."""

    name: str
    operating: Operating
    reason: str
    pools: tuple[PoolStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerStatus:
    """The tree; `unused_pools` are those that no listener can send to."""

    name: str
    operating: Operating
    listeners: tuple[ListenerStatus, ...]
    unused_pools: tuple[str, ...]


def last_checks(data: bytes) -> Mapping[tuple[str, str], LastCheck]:
    """Return backend and server -> last check, of a `show stat` answer of any bytes; what is broken is left out.

    Source: HAProxy management guide 9.1, columns "check_status", "check_code", "lastchg" and "last_chk".
    """
    text = data.decode("utf-8", "replace").removeprefix("# ").replace("\0", "")
    rows = csv.reader(f"{line}\n" for line in text.split("\n"))
    found: dict[tuple[str, str], LastCheck] = {}
    try:
        places = [header.index(column) for header in [next(rows, [])] for column in _COLUMNS]
        for row in rows:
            if len(row) > max(places):
                proxy, server, status, code, changed, words = (row[place] for place in places)
                found[proxy, server] = _last_check(status, code, changed, words)
    except (ValueError, csv.Error):
        return found
    return found


def _last_check(status: str, code: str, changed: str, words: str) -> LastCheck:
    reason = status.removeprefix("* ")
    if code and reason.startswith("L7"):
        reason = f"{reason} {code}"
    return LastCheck(
        reason=reason if re.fullmatch(r"[A-Za-z0-9 ]{1,20}", reason) else "",
        detail="".join(character if character.isprintable() else " " for character in words)[:_LONGEST_DETAIL],
        seconds=int(changed) if re.fullmatch(r"[0-9]{1,12}", changed) else None,
    )


def derive(
    document: Document,
    identity: Identity,
    part: heartbeat.Part,
    checks: Mapping[tuple[str, str], LastCheck],
) -> LoadBalancerStatus:
    """Return the statuses of a document's objects.

    Args:
        document: the one that was applied last.
        identity: of its load balancer.
        part: what heartbeats say of its listeners and pools at this moment.
        checks: backend and server -> last check; what is not there has no reason to show.
    """
    deriver = _Deriver(document, identity, part, checks)
    listeners = tuple(deriver.listener(listener) for listener in document.listeners)
    used = {pool.name for listener in listeners for pool in listener.pools}
    return LoadBalancerStatus(
        name=document.name,
        operating=_whole(document, listeners),
        listeners=listeners,
        unused_pools=tuple(pool.name for pool in document.pools if pool.name not in used),
    )


def derive_served(name: str, part: heartbeat.Part, checks: Mapping[tuple[str, str], LastCheck]) -> LoadBalancerStatus:
    """Return the statuses of what is served where no document says what should be; ids are the names.

    Args:
        name: of the load balancer.
        part: what heartbeats say of its listeners and pools at this moment.
        checks: as for `derive`.
    """
    listeners = tuple(
        ListenerStatus(
            name=listener_id,
            operating=_LISTENER_WORDS.get(listener.status, Operating.ERROR),
            reason="" if listener.status in _LISTENER_WORDS else listener.status,
            pools=tuple(
                _served_pool(key, pool, checks) for key, pool in part.pools.items() if key.endswith(f":{listener_id}")
            ),
        )
        for listener_id, listener in part.listeners.items()
    )
    return LoadBalancerStatus(name=name, operating=_worst(listeners), listeners=listeners, unused_pools=())


def _served_pool(key: str, pool: heartbeat.Pool, checks: Mapping[tuple[str, str], LastCheck]) -> PoolStatus:
    members = tuple(_served_member(name, word, checks.get((key, name))) for name, word in pool.members.items())
    operating, reason = _of_pool(pool, members)
    return PoolStatus(name=key.partition(":")[0], operating=operating, reason=reason, members=members)


def _served_member(name: str, word: str, check: LastCheck | None) -> MemberStatus:
    operating, reason = _of_word(word)
    if check is None:
        return MemberStatus(name=name, operating=operating, reason=reason)
    return MemberStatus(
        name=name,
        operating=operating,
        reason=reason or check.reason,
        detail=check.detail,
        seconds=check.seconds,
    )


def _whole(document: Document, listeners: tuple[ListenerStatus, ...]) -> Operating:
    return _worst(listeners) if document.admin_state_up else Operating.OFFLINE


def _worst(listeners: tuple[ListenerStatus, ...]) -> Operating:
    """Return the load balancer's status: the worst that anything in it makes of it."""
    found = {status for listener in listeners for status in _consequences(listener)}
    return next((worst for worst in (Operating.ERROR, Operating.DEGRADED) if worst in found), Operating.ONLINE)


def _consequences(listener: ListenerStatus) -> Iterator[Operating]:
    yield listener.operating
    for pool in listener.pools:
        yield pool.operating


@dataclass(frozen=True, slots=True)
class _Deriver:
    document: Document
    identity: Identity
    part: heartbeat.Part
    checks: Mapping[tuple[str, str], LastCheck]

    def listener(self, listener: Listener) -> ListenerStatus:
        """Return one listener's."""
        operating, reason = self._of_listener(listener)
        pools = tuple(self._pool(listener, pool) for pool in pools_behind(self.document, listener))
        return ListenerStatus(name=listener.name, operating=operating, reason=reason, pools=pools)

    def _of_listener(self, listener: Listener) -> tuple[Operating, str]:
        if not self.document.admin_state_up:
            return Operating.OFFLINE, "the load balancer is disabled"
        if not listener.admin_state_up:
            return Operating.OFFLINE, "disabled"
        shown = self.part.listeners.get(self.identity.listener(listener.name))
        if shown is None:
            return Operating.ERROR, "it is not served"
        if shown.status == "FULL":
            return Operating.DEGRADED, "the connection limit is reached"
        known = _LISTENER_WORDS.get(shown.status)
        return (Operating.ERROR, shown.status) if known is None else (known, "")

    def _pool(self, listener: Listener, pool: Pool) -> PoolStatus:
        is_lvs = listener.protocol in LVS_PROTOCOLS
        key = self.identity.pool(pool.name) if is_lvs else self.identity.backend(pool.name, listener.name)
        shown = self.part.pools.get(key)
        members = tuple(self._member(pool, member, key, shown) for member in pool.members)
        if shown is None:
            return PoolStatus(name=pool.name, operating=Operating.OFFLINE, reason="it is not served", members=members)
        operating, reason = _of_pool(shown, members)
        return PoolStatus(name=pool.name, operating=operating, reason=reason, members=members)

    def _member(self, pool: Pool, member: Member, key: str, shown: heartbeat.Pool | None) -> MemberStatus:
        server = self.identity.member(pool.name, member.name)
        word = shown.members.get(server) if shown is not None else None
        operating, reason = _of_member(member, word)
        check = self.checks.get((key, server))
        if check is None or word is None:
            return MemberStatus(name=member.name, operating=operating, reason=reason)
        return MemberStatus(
            name=member.name,
            operating=operating,
            reason=reason or check.reason,
            detail=check.detail,
            seconds=check.seconds,
        )


def _of_pool(shown: heartbeat.Pool, members: tuple[MemberStatus, ...]) -> tuple[Operating, str]:
    """Return a served pool's status and the reason for it."""
    if not shown.status.startswith("UP"):
        return Operating.ERROR, "no member can serve" if shown.status == "DOWN" else shown.status
    down = [member.name for member in members if member.operating is Operating.ERROR]
    if down:
        return Operating.DEGRADED, f"{len(down)} of {len(members)} members down"
    return Operating.ONLINE, ""


def _of_word(word: str) -> tuple[Operating, str]:
    """Return what a heartbeat's word for a member means, and the reason where no check is."""
    return next(
        (meaning for prefix, meaning in _MEMBER_WORDS.items() if word.startswith(prefix)), (Operating.ERROR, word)
    )


def _of_member(member: Member, word: str | None) -> tuple[Operating, str]:
    """Return a member's status and, where no check is the reason, the reason."""
    if word is None:
        return Operating.OFFLINE, "it is not served"
    if not member.admin_state_up:
        return Operating.OFFLINE, "disabled"
    operating, reason = _of_word(word)
    if member.weight == 0 and operating in _DRAINED_BY_WEIGHT:
        return Operating.DRAINING, "weight 0"
    return operating, reason
