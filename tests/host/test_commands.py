"""The door to other programs."""

from __future__ import annotations

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import check, run


def test_output_and_exit_code() -> None:
    done = run(["sh", "-c", "cat; echo error >&2; exit 3"], stdin=b"in\n")
    assert (done.code, done.output) == (3, "in\nerror\n")


def test_a_command_that_must_succeed_says_how_it_failed() -> None:
    with pytest.raises(HostFailure) as raised:
        check(["sh", "-c", "echo why; exit 4"])
    assert "exit 4" in raised.value.detail
    assert "why" in raised.value.detail


def test_a_missing_program_and_a_slow_one_are_host_failures() -> None:
    with pytest.raises(HostFailure, match="cannot run"):
        run(["/does/not/exist"])
    with pytest.raises(HostFailure, match="within 0.1 s"):
        run(["sleep", "30"], timeout=0.1)
