"""Entering a namespace by a thread that ends: each call comes back, whatever runs out meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.network import netns

OWN = Path("/proc/self/ns/net")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")

# Has every allocation of the process fail from the nth on, during one call; prints n, and how the call ended.
STARVED = """
import sys
from pathlib import Path
import _testcapi
from amphora_agent.errors import AgentError
from amphora_agent.host.network import netns
own = Path("/proc/self/ns/net")
result = [0]
def work():
    result[0] += 1
    return None
netns.inside(own, work)
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    outcome = "done"
    try:
        _testcapi.set_nomemory(number)
        netns.inside(own, work)
    except MemoryError:
        outcome = "no memory"
    except AgentError:
        outcome = "refused"
    finally:
        _testcapi.remove_mem_hooks()
    sys.stdout.write(f"{number} {outcome}\\n")
    sys.stdout.flush()
"""


@pytest.mark.hardening("B5")
@needs_root
def test_every_call_ends_wherever_memory_runs_out() -> None:
    pytest.importorskip("_testcapi", reason="this Python cannot have allocations fail")
    number, limit, outcomes = 0, 400, []
    while number < limit:
        argv = [sys.executable, "-c", STARVED, str(number), str(limit)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)  # stuck: no end in time
        outcomes += [line.partition(" ")[2] for line in done.stdout.splitlines()]
        if len(outcomes) < limit:
            # Python 3.13 itself dies of a thread it cannot begin; a process that ends is started again.
            assert done.returncode == -signal.SIGSEGV, done.stderr[-2000:]
            outcomes.append("died")
        number = len(outcomes)
    assert set(outcomes) >= {"done", "no memory"}


@needs_root
def test_threads_that_cannot_be_started_are_a_failure_of_the_machine() -> None:
    script = (
        "import resource\n"
        "from pathlib import Path\n"
        "from amphora_agent.errors import HostFailure\n"
        "from amphora_agent.host.network import netns\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * 1024, -1))\n"  # no room for a stack
        "try:\n"
        "    netns.inside(Path('/proc/self/ns/net'), int)\n"
        "except HostFailure as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "cannot start a thread\n", done.stderr


@needs_root
def test_what_is_raised_inside_is_raised_here_once_and_is_not_kept() -> None:
    with pytest.raises(ZeroDivisionError):
        netns.inside(OWN, lambda: 1 // 0)
    with pytest.raises(HostFailure, match="cannot open"):
        netns.inside(Path("/nowhere"), int)
    with pytest.raises(SystemExit):
        netns.inside(OWN, sys.exit)
