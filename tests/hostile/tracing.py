"""The agent under strace, which ends it, or refuses it something, at the Nth system call of a kind of one thread."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from testbed.amphora import RunningAmphora
from testbed.waiting import wait_for

_TRACER = re.compile(r"^TracerPid:\t0$", re.MULTILINE)
_CALL = re.compile(r"^(\d+) +(\w+)\(")
_HIT = re.compile(r"\(INJECTED\)|killed by SIGKILL")


@contextlib.contextmanager
def traced(amphora: RunningAmphora, calls: Collection[str], injection: Sequence[str] = ()) -> Iterator[list[str]]:
    """Have the agent traced for the length of the block, which gets a list that holds strace's lines afterwards.

    Only threads that are there already are traced, and no process that they start: it is the agent that is tried.

    Args:
        amphora: whose agent runs, with the threads that will serve.
        calls: which system calls are traced.
        injection: options of strace that do something to them.
    """
    log = amphora.directory / "strace.log"
    lines: list[str] = []
    tasks = [task for pid in amphora.agent_pids() for task in Path(f"/proc/{pid}/task").iterdir()]
    threads = [part for task in tasks for part in ("-p", task.name)]
    command = ["strace", "-q", "-o", str(log), "-e", f"trace={','.join(calls)}", *injection, *threads]
    strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: not any(map(_is_free, tasks)) or strace.poll() is not None, "strace holds the agent")
        yield lines
    finally:
        # By force where asking does not do it: it waits for a thread of a process that was ended. The kernel lets go.
        strace.terminate()
        try:
            strace.wait(2)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.wait(10)
        lines += log.read_text(errors="replace").splitlines()


def injected(amphora: RunningAmphora, call: str, what: str) -> contextlib.AbstractContextManager[list[str]]:
    """Trace one kind of system call and have something done to it, as strace's `--inject` says it behind the call."""
    return traced(amphora, [call], [f"--inject={call}:{what}"])


def is_hit(lines: Sequence[str]) -> bool:
    """Tell whether anything was done to a call."""
    return any(_HIT.search(line) for line in lines)


def most_calls(lines: Sequence[str]) -> Mapping[str, int]:
    """Return how often the busiest thread made each of the calls that were made."""
    found = (match for line in lines if (match := _CALL.match(line)))
    most: dict[str, int] = {}
    for (_, call), number in Counter((match[1], match[2]) for match in found).items():
        most[call] = max(number, most.get(call, 0))
    return most


def _is_free(task: Path) -> bool:
    try:
        return _TRACER.search((task / "status").read_text()) is not None
    except OSError:  # it has ended
        return False
