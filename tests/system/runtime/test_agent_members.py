"""The whole agent under member changes: real uploads over mutual TLS, real traffic, every HAProxy here.

What a tenant must never notice: a change. What an operator must never see: memory that grows with changes.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.servers_state import parse_servers_state
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.haproxy import removals
from testbed.amphora import LB_ID, RunningAmphora
from testbed.scenario import VIP, Scenario
from testbed.waiting import wait_for
from tests.system.runtime.tenants import (
    CHECK,
    ECHO_PORT,
    TCP,
    Load,
    Members,
    admin_socket,
    assert_runs,
    is_echoed,
    member,
)

CONNECTIONS = int(os.environ.get("RUNTIME_CONNECTIONS", "500"))
CHANGES = int(os.environ.get("RUNTIME_CHANGES", "200"))


def processes(amphora: RunningAmphora) -> set[int]:
    return set(amphora.netns.pids())


def memory(pids: set[int]) -> int:
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return total


def changed(members: Members, step: int) -> Members:
    """Return the members after the next change; pools keep between four and eight of them."""
    pools = {"http": list(members.http), "tcp": list(members.tcp)}
    name = "http" if step % 2 else "tcp"
    servers = pools[name]
    port = 80 if name == "http" else ECHO_PORT
    match (step // 2) % 4:
        case 0:
            servers.insert(step % len(servers), member(100 + step, port, CHECK if step % 3 else ""))
        case 1:
            position = step % len(servers)
            words = servers[position].split()
            servers[position] = "    " + " ".join([*words[:4], str(1 + step % 50), *words[5:]])
        case 2:
            servers.pop(step % len(servers))
        case _:
            servers[0] = servers[0].removesuffix(" disabled") if "disabled" in servers[0] else f"{servers[0]} disabled"
    return Members(tuple(pools["http"]), tuple(pools["tcp"]))


@pytest.mark.timeout(300)
def test_no_change_of_members_is_noticed_by_anybody(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members(
        tuple(member(number, 80) for number in range(6)), tuple(member(20 + number, ECHO_PORT) for number in range(6))
    )
    surroundings.apply(members.config(amphora))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(surroundings.clients.connect(VIP, 81)) for _ in range(CONNECTIONS)]
        assert all(map(is_echoed, kept))
        load = stack.enter_context(Load(surroundings))
        wait_for(lambda: load.answered > 50, "the VIP answers")
        before, used = processes(amphora), memory(processes(amphora))
        seconds = []
        for step in range(CHANGES):
            members = changed(members, step)
            config = members.config(amphora)
            began = time.monotonic()
            surroundings.apply(config)
            seconds.append(time.monotonic() - began)
            if step % 20 == 0:
                assert_runs(amphora, config)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 20, "the VIP answers")
        assert load.failures == []
        assert all(map(is_echoed, kept))
        assert processes(amphora) == before
        grown = memory(before) / used
        print(  # noqa: T201
            f"\n{CHANGES} changes, {load.answered} requests, {len(kept)} connections kept: "
            f"p50 {statistics.median(seconds) * 1000:.0f} ms, memory x {grown:.3f}"
        )
        assert grown < 1.05
    assert "reloaded haproxy" not in amphora.log


@pytest.mark.timeout(120)
def test_a_removed_member_keeps_its_connections_and_goes_with_the_last_one(surroundings: Scenario) -> None:
    amphora = surroundings.amphora
    members = Members((member(1, 80),), (member(2, ECHO_PORT), member(3, ECHO_PORT)))
    surroundings.apply(members.config(amphora))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(surroundings.clients.connect(VIP, 81)) for _ in range(10)]
        assert all(map(is_echoed, kept))
        fewer = Members(members.http, members.tcp[:1])
        surroundings.apply(fewer.config(amphora))
        assert_runs(amphora, fewer.config(amphora))
        removing = amphora.base / "agent" / LB_ID / "removing.json"
        assert [*removals.read(removing)[TCP]] == [members.tcp[1].split()[1]]
        amphora.kill()
        amphora.start()
        assert all(map(is_echoed, kept))
        assert removing.exists()
    if "2.6" in str(query(admin_socket(amphora), "show info", 5.0)):
        return  # such an old one may delete only minutes later
    wait_for(lambda: not removing.exists(), "the member is deleted when its last connection is gone")
    states = parse_servers_state(query(admin_socket(amphora), "show servers state", 5.0).decode())
    assert {state.name for state in states if state.backend == TCP} == {members.tcp[0].split()[1]}
