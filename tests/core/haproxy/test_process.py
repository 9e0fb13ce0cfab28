"""How HAProxy is started, and what its master says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.process import (
    Info,
    Processes,
    ReloadStage,
    WorkerProcess,
    parse_info,
    parse_processes,
    reload_stage,
)
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings

LB = LoadBalancerId("lb-1")
PATHS = paths_of(Settings())
OWN = PATHS.loadbalancer(LB)
FILES = (Path("/a.cfg"), Path("/b.cfg"))

AFTER_A_GOOD_RELOAD = """#<PID>          <type>          <reloads>       <uptime>        <version>
6225            master          2 [failed: 0]   0d00h01m03s     2.6.12-1+deb12u4
# workers
6240            worker          0               0d00h00m03s     2.6.12-1+deb12u4
# old workers
6228            worker          2               1d02h03m04s     2.6.12-1+deb12u4
# programs

"""
AFTER_A_FAILED_RELOAD = """#<PID>          <type>          <reloads>       <uptime>        <version>
6225            master          2 [failed: 1]   0d00h00m03s     2.6.12-1+deb12u4
# workers
6240            worker          1               0d00h00m03s     2.6.12-1+deb12u4
# programs
"""


def test_a_good_reload() -> None:
    processes = parse_processes(AFTER_A_GOOD_RELOAD)
    assert processes is not None
    assert (processes.master_pid, processes.reloads, processes.failed) == (6225, 2, 0)
    assert processes.workers == (WorkerProcess(pid=6240, reloads=0, uptime=3),)
    assert processes.old_workers == (WorkerProcess(pid=6228, reloads=2, uptime=93784),)


def test_a_failed_reload() -> None:
    processes = parse_processes(AFTER_A_FAILED_RELOAD)
    assert processes is not None
    assert processes.failed == 1
    assert [worker.reloads for worker in processes.workers] == [1]


@given(st.text())
def test_any_other_answer_is_none_or_a_view(text: str) -> None:
    processes = parse_processes(text)
    assert processes is None or processes.master_pid >= 0


def test_the_command_that_runs_is_the_command_that_was_checked() -> None:
    unit = haproxy_process.haproxy_unit(OWN, PATHS.netns, "/usr/sbin/haproxy", FILES, "peer")
    check = haproxy_process.check_argv("/usr/sbin/haproxy", FILES, "peer")
    assert check == ("/usr/sbin/haproxy", "-c", "-L", "peer", "-f", "/a.cfg", "-f", "/b.cfg")
    assert unit.argv[:6] == ("/usr/sbin/haproxy", "-Ws", "-f", "/a.cfg", "-f", "/b.cfg")
    assert unit.argv[-2:] == ("-L", "peer")
    assert unit.name == "amphora-haproxy@lb-1.service"


def test_the_environment_of_the_template_unit() -> None:
    text = haproxy_process.environment(OWN, "/usr/sbin/haproxy", FILES, "peer")
    assert text == (
        "HAPROXY=/usr/sbin/haproxy\n"
        "OPTIONS=-f /a.cfg -f /b.cfg -p /var/lib/octavia/lb-1/lb-1.pid"
        " -S /var/lib/octavia/agent/lb-1/master.sock,mode,600\n"
        "PEER=peer\n"
    )
    assert haproxy_process.environment_peer(text) == "peer"
    assert haproxy_process.environment_peer("PEERS=x\n") is None


def test_our_own_file_names_the_group_only_where_the_image_does_not() -> None:
    with_group = haproxy_process.agent_config(OWN, Settings(), Version(2, 6), "nogroup")
    assert with_group.splitlines()[:2] == ["global", "    group nogroup"]
    assert "group" not in haproxy_process.agent_config(OWN, Settings(), Version(2, 6), None)
    assert "    hard-stop-after 14400s" in with_group


def test_our_own_file_has_no_directive_of_a_later_haproxy() -> None:
    texts = {v: haproxy_process.agent_config(OWN, Settings(), Version(2, v), None) for v in (4, 6)}
    assert "httpclient" not in texts[4]
    assert "    httpclient.ssl.verify none\n" in texts[6]


def test_last_words_are_those_since_the_last_reading() -> None:
    log = "\n".join(
        (
            "[NOTICE] (1) : haproxy version is 2.6",
            "[NOTICE] (1) : path to executable is /usr/sbin/haproxy",
            "[ALERT] old",
            "[NOTICE] (1) : haproxy version is 2.6",
            "[NOTICE] (1) : path to executable is /usr/sbin/haproxy",
            "[ALERT] cannot bind",
        )
    )
    assert haproxy_process.last_words(log) == "[ALERT] cannot bind"
    assert haproxy_process.last_words("no banner") == "no banner"


BEFORE = Processes(master_pid=10, reloads=3, failed=0, workers=(), old_workers=())


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEFORE, ReloadStage.UNDER_WAY),
        (replace(BEFORE, reloads=4), ReloadStage.SUCCEEDED),
        (replace(BEFORE, reloads=4, failed=1), ReloadStage.FAILED),
        # It counted failures before this reload: they are over once it succeeds, not while it is under way.
        (replace(BEFORE, failed=2), ReloadStage.UNDER_WAY),
        (replace(BEFORE, master_pid=11, reloads=0), ReloadStage.MASTER_REPLACED),
    ],
)
def test_how_far_a_reload_is(now: Processes, expected: ReloadStage) -> None:
    assert reload_stage(BEFORE, now) is expected


def test_only_a_worker_that_no_reload_replaced_is_current() -> None:
    workers = (WorkerProcess(pid=1, reloads=0, uptime=0), WorkerProcess(pid=2, reloads=1, uptime=9))
    assert replace(BEFORE, workers=workers).current_pids == {1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Name: HAProxy\nVersion: 3.0.11-1+deb13u2\nPid: 17\n", Info(17, Version(3, 0, 11))),
        ("Pid: 17\n", Info(17, None)),
        ("Pid: 17\nStopping: 0\n", Info(17, None)),
        ("Pid: 17\nStopping: 1\n", Info(17, None, is_stopping=True)),
        ("Pid: ²\n", None),
        ("Version: 3.²\nPid: 17\n", Info(17, None)),
        ("Name: HAProxy\nVersion: 3.0.11\nPid: \n", None),
        ("Unknown command\n", None),
        ("", None),
    ],
)
def test_a_worker_says_its_pid_and_version(text: str, expected: Info | None) -> None:
    assert parse_info(text) == expected


@pytest.mark.hardening("D20")
@pytest.mark.parametrize("digit", ["²", "\u0661", "9" * 5000])
def test_odd_digits_are_no_numbers(digit: str) -> None:
    master = "6225 master 2 [failed: 1] 0d00h00m03s 2.6"
    assert parse_processes(f"{digit} master 2 [failed: 0] 0d00h00m03s 2.6") is None
    assert parse_processes(f"6225 master {digit} [failed: 0] 0d00h00m03s 2.6") is None
    text = f"{master}\n# workers\n{digit} worker 0 0d00h00m03s 2.6\n17 worker 0 {digit}d00h00m03s 2.6\n"
    processes = parse_processes(text)
    assert processes is not None
    assert processes.workers == (WorkerProcess(pid=17, reloads=0, uptime=0),)


@pytest.mark.hardening("B1")
def test_what_serves_is_looked_for_among_the_old_workers_last() -> None:
    workers = (WorkerProcess(pid=3, reloads=0, uptime=0),)
    old = (WorkerProcess(pid=1, reloads=4, uptime=9), WorkerProcess(pid=2, reloads=1, uptime=5))
    assert replace(BEFORE, workers=workers, old_workers=old).by_youth == (3, 2, 1)


@pytest.mark.parametrize(("failed", "expected"), [(0, ReloadStage.SUCCEEDED), (1, ReloadStage.FAILED)])
def test_what_a_silent_master_says_it_says_after_the_reload(failed: int, expected: ReloadStage) -> None:
    assert reload_stage(None, replace(BEFORE, failed=failed)) is expected
