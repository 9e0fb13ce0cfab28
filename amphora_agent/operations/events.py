"""What happened on this amphora since the agent started, numbered, for who waits for it. Decides nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from amphora_agent.core.ids import LoadBalancerId

# A watcher that comes back once a minute misses none of them in a busy hour.
KEPT = 1000


class EventKind(StrEnum):
    """What can happen."""

    APPLIED = "applied"
    ROLLED_BACK = "rolled-back"
    CONFIRMED = "confirmed"
    DELETED = "deleted"
    DRAINED = "drained"
    READY = "ready"
    MEMBER = "member"
    ROLE = "role"
    CERTIFICATE = "certificate"
    SECRET = "secret"  # noqa: S105 - not one


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        sequence: 1 for the first since the agent started.
        at: seconds since the epoch.
        loadbalancer: whose it is; None of what belongs to no load balancer.
        subject: what it is about: "member web/w1"; empty for the whole load balancer.
        detail: in words.
    """

    sequence: int
    at: float
    kind: EventKind
    loadbalancer: LoadBalancerId | None
    subject: str
    detail: str


class EventLog:
    """The last events. Appended to and read by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._latest = 0
        self._awaited = 0.0
        self._listeners: tuple[Callable[[], None], ...] = ()

    @property
    def latest(self) -> int:
        """The sequence of the last event, 0 before the first."""
        return self._latest

    def append(
        self, kind: EventKind, loadbalancer: LoadBalancerId | None, subject: str, detail: str, *, at: float
    ) -> None:
        """Number an event, keep it, and call everybody who subscribed.

        Args:
            kind: what happened.
            loadbalancer: to which.
            subject: what it is about.
            detail: in words.
            at: seconds since the epoch.
        """
        with self._lock:
            sequence = self._latest + 1
            self._events.append(
                Event(sequence=sequence, at=at, kind=kind, loadbalancer=loadbalancer, subject=subject, detail=detail)
            )
            self._latest = sequence
        for call in self._listeners:
            call()

    def since(self, sequence: int) -> tuple[Event, ...]:
        """Return the events after one, oldest first, as far as they are kept."""
        with self._lock:
            return tuple(event for event in self._events if event.sequence > sequence)

    def has_lost(self, sequence: int) -> bool:
        """Tell whether somebody who knows all up to `sequence` has missed some: too many since, or a new agent."""
        with self._lock:
            oldest = self._events[0].sequence if self._events else self._latest + 1
            return sequence > self._latest or sequence < oldest - 1

    def await_until(self, moment: float) -> None:
        """Note that somebody waits for events until a moment, in monotonic seconds."""
        with self._lock:
            self._awaited = max(self._awaited, moment)

    def is_awaited(self, now: float) -> bool:
        """Tell whether somebody waits for events, as far as is known."""
        return now < self._awaited

    def subscribe(self, call: Callable[[], None]) -> None:
        """Have `call` called after each event, by the thread it happened in; it must be quick."""
        with self._lock:
            self._listeners += (call,)
