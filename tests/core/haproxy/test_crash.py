"""The circuit breaker: a worker that ends soon after a change at run time."""

from __future__ import annotations

import pytest

from amphora_agent.core.haproxy.crash import CRASH_SECONDS, has_crashed, is_window_short
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig

TICKS_PER_SECOND = 100
WORKER = ProcessId(7, 100 * TICKS_PER_SECOND)


def record(changed_at: float | None) -> AppliedConfig:
    return AppliedConfig(config="", digests={}, worker=WORKER, changed_at=changed_at)


@pytest.mark.parametrize(
    ("changed_at", "running", "now", "expected"),
    [
        (1000.0, WORKER, 1001.0, False),
        (None, ProcessId(8, 1001 * TICKS_PER_SECOND), 1002.0, False),
        (1000.0, ProcessId(8, 1001 * TICKS_PER_SECOND), 9000.0, True),
        (1000.0, ProcessId(7, 1001 * TICKS_PER_SECOND), 9000.0, True),
        (1000.0, ProcessId(8, int((1001 + CRASH_SECONDS) * TICKS_PER_SECOND)), 9000.0, False),
        (1000.0, None, 1100.0, True),
        (1000.0, None, 1001.0 + CRASH_SECONDS, False),
        # After a reboot everything started before the recorded time.
        (1000.0, ProcessId(8, 10 * TICKS_PER_SECOND), 20.0, False),
        (1000.0, None, 20.0, False),
    ],
)
def test_a_crash_is_an_end_soon_after_a_change(
    changed_at: float | None, running: ProcessId | None, now: float, *, expected: bool
) -> None:
    assert has_crashed(record(changed_at), running, now, TICKS_PER_SECOND) is expected


@pytest.mark.parametrize(
    ("changed_at", "now", "expected"),
    [
        (None, 1000.0, True),
        (1000.0, 1000.0, False),
        (1000.0, 1000.0 + CRASH_SECONDS / 2 - 1, False),
        (1000.0, 1000.0 + CRASH_SECONDS / 2, True),
        (1000.0, 20.0, True),
    ],
)
def test_the_window_is_extended_once_half_of_it_is_over(
    changed_at: float | None, now: float, *, expected: bool
) -> None:
    assert is_window_short(record(changed_at), now) is expected
