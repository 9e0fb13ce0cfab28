"""When an amphora gives the VIP away: a HAProxy that is gone or keeps crashing, never one crash or a restart."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived.mastership import Memory, Verdict, judge

LB = LoadBalancerId("lb")
FIT, UNFIT, UNCLEAR = Verdict.FIT, Verdict.UNFIT, Verdict.UNCLEAR


def last(looks: Iterable[tuple[float, int | None]]) -> Verdict:
    """Return the verdict after looks of (time, pid)."""
    memory: Memory = {}
    verdict = UNCLEAR
    for now, pid in looks:
        memory, verdict = judge(memory, {LB: pid}, now)
    return verdict


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ([(0.0, 1)], UNCLEAR),
        ([(0.0, 1), (5.0, 1)], FIT),
        ([(0.0, 1), (9.0, None)], UNCLEAR),
        ([(0.0, 1), (9.0, None), (9.9, None)], UNCLEAR),
        ([(0.0, 1), (9.0, None), (10.0, None)], UNFIT),
        ([(0.0, 1), (9.0, None), (9.5, 2)], UNCLEAR),
        ([(0.0, 1), (9.0, None), (9.5, 2), (14.5, 2)], FIT),
        ([(0.0, 1), (9.0, 2), (10.0, 3)], UNCLEAR),
        ([(0.0, 1), (9.0, 2), (10.0, 3), (11.0, 4)], UNFIT),
        ([(0.0, 1), (9.0, 2), (10.0, 3), (11.0, 4), (18.0, 4)], UNFIT),
        ([(0.0, 1), (9.0, 2), (10.0, 3), (11.0, 4), (20.0, 4)], FIT),
        ([(0.0, None), (29.0, None)], UNCLEAR),
        ([(0.0, None), (30.0, None)], UNFIT),
        ([(0.0, None), (20.0, 1)], UNCLEAR),
        ([(0.0, None), (20.0, 1), (25.0, 1)], FIT),
    ],
)
def test_one_haproxy(looks: list[tuple[float, int | None]], verdict: Verdict) -> None:
    assert last(looks) is verdict


def test_one_lost_haproxy_of_two_is_enough() -> None:
    other = LoadBalancerId("other")
    memory, _ = judge({}, {LB: 1, other: 2}, 0.0)
    memory, verdict = judge(memory, {LB: 1, other: 2}, 10.0)
    assert verdict is FIT
    memory, _ = judge(memory, {LB: 1, other: None}, 11.0)
    assert judge(memory, {LB: 1, other: None}, 12.0)[1] is UNFIT


def test_stopped_loadbalancer_is_forgotten() -> None:
    memory, _ = judge({}, {LB: 1}, 0.0)
    memory, _ = judge(memory, {LB: None}, 10.0)
    memory, verdict = judge(memory, {}, 12.0)
    assert (memory, verdict) == ({}, FIT)
