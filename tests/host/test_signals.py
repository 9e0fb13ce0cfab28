"""A signal that nobody takes is no error, one that may not be sent is the machine's failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amphora_agent.host import signals

_AS_NOBODY = """
import os, signal
from amphora_agent.errors import HostFailure
from amphora_agent.host import signals
parent = os.getppid()
leader = os.getpgid(parent)
os.setuid(65534)
for pid, to_group in ((parent, False), (leader, True)):
    try:
        signals.send(pid, signal.SIGCONT, to_group=to_group)
    except HostFailure as error:
        print(error.detail)
"""


@pytest.mark.hardening("C13")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_one_that_may_not_be_sent() -> None:
    command = [sys.executable, "-c", _AS_NOBODY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, start_new_session=True)
    assert done.stdout == "Operation not permitted\n" * 2


@pytest.mark.parametrize("to_group", [False, True])
def test_nobody_there(*, to_group: bool) -> None:
    with subprocess.Popen(["true"], start_new_session=True) as gone:
        pass
    assert not signals.send(gone.pid, signal.SIGCONT, to_group=to_group)
    assert signals.send(os.getpid(), signal.SIGCONT)
