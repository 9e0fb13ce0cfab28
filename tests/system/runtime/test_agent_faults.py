"""The whole agent when HAProxy lies, or it or HAProxy is killed around a change."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from amphora_agent.host.haproxy.socket import query
from testbed.amphora import LB_ID, RunningAmphora
from testbed.scenario import Scenario
from testbed.waiting import wait_for
from tests.system.runtime.tenants import (
    ECHO_PORT,
    Load,
    Members,
    admin_socket,
    assert_runs,
    member,
    reload,
)
from tests.system.runtime.test_faults import Meddler


@contextlib.contextmanager
def meddled(amphora: RunningAmphora, spoilt: int, fault: str) -> Iterator[Meddler]:
    """Stand between the agent and HAProxy's admin socket; a reload makes HAProxy listen there again by itself."""
    path = admin_socket(amphora)
    behind = path.with_name("behind.sock")
    path.rename(behind)
    meddler = Meddler(behind, path, spoilt, fault)
    try:
        with meddler.listening():
            yield meddler
    finally:
        if not path.exists():
            behind.rename(path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["corrupt", "cut", "lie"])
def test_spoilt_answers_end_with_the_stored_configuration(surroundings: Scenario, fault: str) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(members.config(amphora))
    with Load(surroundings) as load:
        for spoilt in range(1, 9):
            first = members.http[0].split()
            weighed = "    " + " ".join([*first[:4], str(2 + spoilt), *first[5:]])
            members = Members((weighed, member(10 + spoilt, 80)), members.tcp)
            with meddled(amphora, spoilt, fault):
                surroundings.apply(members.config(amphora))
            assert_runs(amphora, members.config(amphora))
        wait_for(lambda: load.answered > 20, "the VIP answers")
        assert load.failures == []


@pytest.mark.timeout(120)
def test_a_killed_agent_finds_the_stored_configuration_again(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    before = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    after = Members((member(1, 80), member(4, 80), member(5, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(before.config(amphora))
    for spoilt in range(1, 7):
        assert surroundings.upload(after.config(amphora)).status == 202
        with meddled(amphora, spoilt, "late") as meddler:
            thread = threading.Thread(target=_ignore_failure, args=(lambda: reload(amphora),))
            thread.start()
            wait_for(lambda: len(meddler.seen) > spoilt, "the command is sent")  # noqa: B023 - called at once
            amphora.kill()
            thread.join()
        amphora.start()
        # Back to what the record says was running: without the note in it, this would look like no change at all.
        surroundings.apply(before.config(amphora))
        assert_runs(amphora, before.config(amphora))


def _ignore_failure(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, Exception):
        call()


@pytest.mark.timeout(120)
def test_a_worker_that_dies_after_a_change_is_reloaded_from_then_on(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80), member(2, 80)), (member(3, ECHO_PORT),))
    surroundings.apply(members.config(amphora))
    members = Members((*members.http, member(4, 80)), members.tcp)
    surroundings.apply(members.config(amphora))
    info = query(admin_socket(amphora), "show info", 5.0).decode()
    pid = int(next(line for line in info.splitlines() if line.startswith("Pid:")).split()[1])
    os.kill(pid, signal.SIGSEGV)
    for weight in (5, 6):
        first = members.http[0].split()
        members = Members(("    " + " ".join([*first[:4], str(weight)]), *members.http[1:]), members.tcp)
        wait_for(lambda: _is_applied(surroundings, members.config(amphora)), "the agent recovers")  # noqa: B023
        assert_runs(amphora, members.config(amphora))
    assert (amphora.base / "agent" / LB_ID / "reload-only").exists()
    amphora.restart()
    assert not (amphora.base / "agent" / LB_ID / "reload-only").exists()


def _is_applied(surroundings: Scenario, config: str) -> bool:
    return surroundings.upload(config).status == 202 and reload(surroundings.amphora) == 202
