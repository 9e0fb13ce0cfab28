"""A fleet's heartbeats stay spread: at a common start, after a stall, when the interval changes."""

from __future__ import annotations

import uuid

import pytest

from amphora_agent.core.heartbeat.schedule import due_after_beat, due_after_change, phase_of

FLEET = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(10_000)]


def busiest_tenth(times: list[float], interval: float) -> float:
    """Return the share of times in the busiest tenth of the interval; 0.1 is perfectly even."""
    tenths = [int(time % interval / interval * 10) for time in times]
    return max(tenths.count(tenth) for tenth in range(10)) / len(times)


def test_amphorae_that_boot_together_beat_spread_over_the_interval() -> None:
    phases = [phase_of(amphora_id) for amphora_id in FLEET]
    assert all(0 <= phase < 1 for phase in phases)
    assert busiest_tenth(phases, 1) < 0.11


def test_a_restart_leaves_an_amphora_in_its_place_and_another_id_is_elsewhere() -> None:
    assert phase_of(FLEET[0]) == phase_of(FLEET[0])
    assert len({phase_of(amphora_id) for amphora_id in FLEET}) > 0.999 * len(FLEET)


@pytest.mark.parametrize(
    ("now", "due"), [(100.0, 110.0), (100.4, 110.0), (109.9, 110.0), (110.0, 120.0), (158.0, 160.0)]
)
def test_missed_beats_are_skipped_and_the_next_is_in_step(now: float, due: float) -> None:
    assert due_after_beat(100.0, now, 10.0) == due


@pytest.mark.parametrize("changed", [1.0, 5.0, 30.0, 3600.0])
def test_a_fleet_that_is_told_another_interval_at_one_moment_stays_spread(changed: float) -> None:
    before = [1000 + 10 * phase_of(amphora_id) for amphora_id in FLEET]
    after = [due_after_change(due, 1000.0, 10.0, changed) for due in before]
    assert busiest_tenth([due - 1000 for due in after], changed) < 0.11
    assert all(1000 <= due < 1000 + changed for due in after)


def test_a_beat_that_is_late_already_is_due_at_once() -> None:
    assert due_after_change(99.0, 100.0, 10.0, 60.0) == 100.0
