"""What one look at a HAProxy found, and what a heartbeat makes of it. Sends nothing.

Decision: the listeners of a message are those of the applied configuration, whatever HAProxy answers, since the
controller counts them. While HAProxy's process lives and its socket does not answer (a reload, an overload, a stopped
process), the last statuses are repeated with no news in the counters, for GRACE messages; then the load balancer
contributes nothing, so that the controller may replace an amphora that really hangs. A listener not seen before
shows OPEN meanwhile. It costs up to GRACE intervals of optimism.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from amphora_agent.core.haproxy.config import Config, frontends
from amphora_agent.core.haproxy.stats import INTERNAL, Table
from amphora_agent.core.heartbeat.counters import Sample, Source
from amphora_agent.core.heartbeat.document import Listener, Part, Pool
from amphora_agent.core.process_id import ProcessId

GRACE = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said; None when it lives and did not answer. `is_final`: said just before it was replaced."""

    worker: ProcessId
    table: Table | None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """HAProxy runs: the current worker (None when it is not known) and what it said, and the older workers."""

    worker: ProcessId | None
    table: Table
    old: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Silent:
    """HAProxy runs and nothing usable came from its socket."""

    reason: str


@dataclass(frozen=True, slots=True)
class Absent:
    """HAProxy does not run."""


Observation = Answered | Silent | Absent


@dataclass(frozen=True, slots=True)
class Memory:
    """What was last known of one load balancer, and how many messages ago in a row it was silent."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    missed: int = 0


def listener_ids(config: Config) -> tuple[str, ...]:
    """Return the listeners of a configuration in order, without the internal one of the Prometheus exporter."""
    return tuple(frontend.id for frontend in frontends(config) if INTERNAL not in frontend.id)


def is_of_another(recorded: ProcessId, observation: Observation) -> bool:
    """Tell whether the worker that answered is not the one on record as having been given a configuration.

    It has read the stored file then: a supervisor restarted HAProxy, or a reload has just succeeded and is about to be
    recorded.
    """
    match observation:
        case Answered(worker=ProcessId() as worker):
            return worker != recorded
        case _:
            return False


def hide(pools: Mapping[str, Pool], hidden: Mapping[str, Collection[str]]) -> Mapping[str, Pool]:
    """Return the pools without the members the agent is removing.

    A pool of which nothing is left shows UP, as an empty pool does; its servers in MAINT would make it DOWN.

    Args:
        pools: of the current worker.
        hidden: pool key -> members to leave out while they are in MAINT; one that is not was added again.
    """
    changed: dict[str, Pool] = {}
    for key in pools.keys() & hidden.keys():
        members = pools[key].members
        kept = {
            name: status
            for name, status in members.items()
            if name not in hidden[key] or not status.startswith("MAINT")
        }
        if len(kept) < len(members):
            changed[key] = Pool(pools[key].status if kept else "UP", kept)
    return {key: changed.get(key, pool) for key, pool in pools.items()}


def report(
    observation: Observation, configured: Iterable[str], hidden: Mapping[str, Collection[str]], memory: Memory
) -> tuple[Part, Memory]:
    """Return what one load balancer contributes to this message, and what to remember for the next one.

    Args:
        observation: of this moment.
        configured: the listeners of the applied configuration.
        hidden: see `hide`.
        memory: as returned for the previous message; `Memory()` at first.
    """
    match observation:
        case Answered():
            return _report_answers(observation, configured, hidden, memory)
        case Silent():
            missed = Memory(memory.statuses, memory.pools, memory.missed + 1)
            if missed.missed > GRACE:
                return Part(), missed
            listeners = {name: Listener(memory.statuses.get(name, "OPEN")) for name in configured}
            return Part(listeners, memory.pools), missed
        case Absent():
            return Part(), Memory()
        case _:
            assert_never(observation)


def _report_answers(
    answered: Answered, configured: Iterable[str], hidden: Mapping[str, Collection[str]], memory: Memory
) -> tuple[Part, Memory]:
    listeners: dict[str, Listener] = {}
    for name in configured:
        shown = answered.table.frontends.get(name)
        if shown is None:
            listeners[name] = Listener(memory.statuses.get(name, "OPEN"))
        else:
            current = Sample(Source.of_process(answered.worker), shown.totals, shown.current)
            listeners[name] = Listener(shown.status, (current, *_old_samples(answered.old, name)))
    part = Part(listeners, hide(answered.table.pools, hidden))
    return part, Memory({name: listener.status for name, listener in listeners.items()}, part.pools)


def _old_samples(answers: Iterable[Answer], name: str) -> Iterator[Sample]:
    """Yield what older workers say of one listener; those that never had it say nothing."""
    for answer in answers:
        if answer.table is None:
            yield Sample(Source.of_process(answer.worker), None)
        elif name in answer.table.frontends:
            frontend = answer.table.frontends[name]
            current = 0 if answer.is_final else frontend.current
            yield Sample(Source.of_process(answer.worker), frontend.totals, current, answer.is_final)
