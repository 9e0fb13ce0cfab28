"""Locks between processes: one holder at a time, and none left behind by a killed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from amphora_agent.host.locks import exclusive
with exclusive(Path(sys.argv[1]), timeout=5):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HostFailure, match="cannot lock"), exclusive(tmp_path, timeout=0.1):
            pytest.fail("two holders")
        holder.kill()
        holder.wait()
        with exclusive(tmp_path, timeout=5):
            assert not list(tmp_path.iterdir())


def test_no_directory_no_lock(tmp_path: Path) -> None:
    with pytest.raises(HostFailure), exclusive(tmp_path / "missing", timeout=0.1):
        pytest.fail("held")
