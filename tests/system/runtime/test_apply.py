"""The circuit breaker and the list of servers that wait for their deletion."""

from __future__ import annotations

from pathlib import Path

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.crash import CRASH_SECONDS, has_crashed
from amphora_agent.core.haproxy.removals import UNSAFE_REMOVAL_SECONDS, deletable_with_care
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.operations.haproxy import removals

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


@pytest.mark.parametrize("text", ["", "null", "[]", "5", "{", '{"a": 1}', '{"a": "b"}'])
def test_junk_in_the_list_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "removing.json").write_text(text)
    assert removals.read(tmp_path / "removing.json") == {}
    assert removals.read(tmp_path / "missing.json") == {}


def test_the_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "removing.json").write_text('{"p:l": {"a": 5, "b": "c", "d": 6.5}}')
    assert removals.read(tmp_path / "removing.json") == {"p:l": {"a": 5, "d": 6.5}}


def test_where_deleting_needs_care_each_server_waits_its_own_time() -> None:
    config = "backend p:l\n    mode http\nbackend h2:l\n    server s 127.0.0.1:1 ssl alpn h2\n"
    now = 1000.0
    removing = {
        # The last one is of another boot.
        "p:l": {"old": now - UNSAFE_REMOVAL_SECONDS, "young": now - UNSAFE_REMOVAL_SECONDS + 1, "strange": now + 5},
        "h2:l": {"any": 0.0},
        "gone:l": {"any": 0.0},
    }
    assert deletable_with_care(removing, parse(config), now) == {
        "p:l": {"old": now - UNSAFE_REMOVAL_SECONDS, "strange": now + 5}
    }
