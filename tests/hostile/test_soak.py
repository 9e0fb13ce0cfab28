"""The agent at work for minutes, through all that a controller does: the second half needs no more than the first.

What it may not gain: memory, descriptors, threads, processes and files.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from amphora_agent.api.http.lanes import ALL_THREADS
from testbed.amphora import RunningAmphora
from testbed.scenario import Scenario, scenario
from testbed.waiting import holds
from tests.hostile.amount import IS_LONG
from tests.hostile.mutations import HAPROXY_PATH, MUTATIONS, good_config

SECONDS = 110.0
LONG_CYCLES = 5_000
# Bytes that the processes together may gain: the allocator's, not a cycle's.
SLACK = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the agent's processes have, and what there is of processes and files."""

    rss: int
    descriptors: int
    threads: int
    processes: int
    files: int


@pytest.fixture
def plugged() -> Iterator[Scenario]:
    with RunningAmphora() as running, scenario(running) as surroundings:
        surroundings.plug()
        _fill_lanes(running)
        yield surroundings


def _fill_lanes(amphora: RunningAmphora) -> None:
    """Have each lane begin all its threads, which it does as requests coincide: a busy machine would do so late."""
    absent = {"mac_address": "fa:16:3e:00:00:aa", "fixed_ips": [], "mtu": 1450}
    with ThreadPoolExecutor(3 * ALL_THREADS) as crowd:
        for _ in range(ALL_THREADS):
            crowd.submit(amphora.request, "POST", "/1.0/plug/network", document=absent)
            crowd.submit(amphora.request, "GET", "/1.0/details")
            crowd.submit(amphora.request, "PUT", HAPROXY_PATH, "nonsense")


def _usage(amphora: RunningAmphora) -> Usage:
    own = [Path(f"/proc/{pid}") for pid in amphora.agent_pids()]
    status = [dict(line.split(":\t", 1) for line in (p / "status").read_text().splitlines()) for p in own]
    return Usage(
        rss=sum(int(fields["VmRSS"].split()[0]) * 1024 for fields in status),
        descriptors=sum(len(list((process / "fd").iterdir())) for process in own),
        threads=sum(int(fields["Threads"]) for fields in status),
        processes=len(own) + len(amphora.netns.pids()),
        files=sum(1 for _ in amphora.directory.rglob("*")),
    )


def _settled(amphora: RunningAmphora) -> Usage:
    """Return the least of what is seen for a moment, in which what one request took ends."""
    seen: list[Usage] = []

    def look() -> bool:
        with contextlib.suppress(FileNotFoundError):  # a process ended while it was looked at
            seen.append(_usage(amphora))
        return True

    holds(look, 1.0)
    names = ("rss", "descriptors", "threads", "processes", "files")
    return Usage(**{name: min(getattr(usage, name) for usage in seen) for name in names})


def _cycle(plugged: Scenario) -> None:
    for mutation in MUTATIONS:
        mutation.prepare(plugged)
        reply = mutation.request(plugged)
        assert reply.status in mutation.done, (mutation.name, reply, plugged.amphora.log[-3000:])
    plugged.apply(good_config(plugged.amphora))
    plugged.wait_for("web1")


def _most(usages: list[Usage]) -> Usage:
    names = ("rss", "descriptors", "threads", "processes", "files")
    return Usage(**{name: max(getattr(usage, name) for usage in usages) for name in names})


@pytest.mark.hardening("E")
@pytest.mark.timeout(24 * 3600)
def test_the_second_half_needs_no_more_than_the_first(plugged: Scenario) -> None:
    usages: list[Usage] = []
    deadline = time.monotonic() + SECONDS
    while len(usages) < LONG_CYCLES if IS_LONG else time.monotonic() < deadline:
        _cycle(plugged)
        usages.append(_settled(plugged.amphora))
    print(len(usages), usages[0], usages[-1])  # noqa: T201 - what the run was worth
    assert len(usages) >= 6, "there were cycles enough to have halves"
    first, second = _most(usages[: len(usages) // 2]), _most(usages[len(usages) // 2 :])
    assert second.rss <= first.rss + SLACK, usages
    assert second.descriptors <= first.descriptors, usages
    assert second.threads <= first.threads, usages
    assert second.processes <= first.processes, usages
    assert second.files <= first.files, usages
    assert "Traceback" not in plugged.amphora.log
