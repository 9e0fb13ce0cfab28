"""UDP and SCTP listeners through the API, with the real keepalived as far as a kernel without IPVS goes.

What keepalived does to the kernel's table is tested in the virtual machine (tests/image).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.records import listener_change
from amphora_agent.core.records.listener_change import ListenerChange
from testbed.amphora import (
    AMPHORA_ID,
    CLIENT_ADDRESS,
    HEARTBEAT_KEY,
    HEARTBEAT_PORT,
    LB_ID,
    SAMPLES,
    Reply,
    RunningAmphora,
)
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import wait_for

LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
OTHER = "00000000-0000-4000-8000-0000000000aa"
UPLOADS = sorted(path.name for path in (SAMPLES / "lvs").glob("*.conf"))
IDLE = ("10-udp-no-pool.conf", "11-udp-listener-disabled.conf", "18-udp-loadbalancer-disabled.conf")
HAS_IPVS = Path("/proc/net/ip_vs").exists()


def put(amphora: RunningAmphora, text: str, listener: str = LISTENER) -> Reply:
    return amphora.request("PUT", f"/1.0/listeners/{AMPHORA_ID}/{listener}/udp_listener", text)


def act(amphora: RunningAmphora, action: str, listener: str = LISTENER) -> Reply:
    return amphora.request("PUT", f"/1.0/loadbalancer/{listener}/{action}")


def conf(amphora: RunningAmphora, listener: str = LISTENER) -> Path:
    return amphora.base / "lvs" / f"octavia-keepalivedlvs-{listener}.conf"


def pid_of(amphora: RunningAmphora, listener: str = LISTENER) -> int:
    return int(conf(amphora, listener).with_suffix(".pid").read_text())


def log_of(amphora: RunningAmphora, listener: str = LISTENER) -> str:
    return (amphora.base / "agent" / "lvs" / listener / "keepalived.log").read_text()


def boot_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.fixture
def started(amphora: RunningAmphora) -> RunningAmphora:
    """An amphora with one running listener that has nothing to do."""
    assert put(amphora, amphora.sample(f"lvs/{IDLE[0]}")).status == 200
    reply = act(amphora, "reload")
    assert (reply.status, reply.json()["details"]) == (202, f"keepalivedlvs listener {LISTENER} restarted")
    return amphora


def test_every_sample_is_stored_and_returned(amphora: RunningAmphora) -> None:
    for name in UPLOADS:
        text = amphora.sample(f"lvs/{name}")
        reply = put(amphora, text)
        assert (reply.status, reply.json()) == (200, {"message": "OK"}), name
        assert reply.headers["etag"] == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        stored = amphora.request("GET", f"/1.0/listeners/{LISTENER}/udp_listener")
        assert (stored.status, stored.body) == (200, text.encode())
        assert stored.headers["content-type"].lower() == "text/plain; charset=utf-8"
        assert "etag" not in stored.headers
    assert conf(amphora).stat().st_mode & 0o777 == 0o644
    check = amphora.base / "lvs" / "check" / "udp_check.sh"
    assert check.stat().st_mode & 0o777 == 0o500


def test_absent_listener_is_not_found(amphora: RunningAmphora) -> None:
    reply = amphora.request("GET", f"/1.0/listeners/{LISTENER}/udp_listener")
    wanted = {"message": "UDP Listener Not Found", "details": f"No UDP listener with UUID: {LISTENER}"}
    assert (reply.status, reply.json()) == (404, wanted)
    assert act(amphora, "reload").json()["message"] == "Loadbalancer Not Found"


@pytest.mark.parametrize("name", IDLE)
def test_life_of_a_listener(amphora: RunningAmphora, name: str) -> None:
    assert put(amphora, amphora.sample(f"lvs/{name}")).status == 200
    assert amphora.request("GET", "/1.0/details").json()["lvs_listener_process_count"] == 0
    assert act(amphora, "START").json()["details"] == f"keepalivedlvs listener {LISTENER} started"
    details = amphora.request("GET", "/1.0/details").json()
    assert (details["lvs_listener_process_count"], details["listeners"]) == (1, [LISTENER])
    pid = pid_of(amphora)
    assert act(amphora, "stop").json()["details"] == f"keepalivedlvs listener {LISTENER} stoped"
    assert not Path(f"/proc/{pid}").exists()
    assert amphora.request("GET", "/1.0/details").json()["lvs_listener_process_count"] == 0
    for _ in range(2):
        reply = amphora.request("DELETE", f"/1.0/listeners/{LISTENER}")
        assert (reply.status, reply.json()) == (200, {"message": "OK"})
    assert list((amphora.base / "lvs").glob("*keepalived*")) == []
    assert amphora.request("GET", "/1.0/listeners").json() == []


def test_identical_upload_and_reload_touch_nothing(started: RunningAmphora) -> None:
    before, pid, log = conf(started).stat(), pid_of(started), log_of(started)
    for _ in range(3):
        assert put(started, started.sample(f"lvs/{IDLE[0]}")).status == 200
        assert act(started, "reload").status == 202
    after = conf(started).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert pid_of(started) == pid
    assert log_of(started) == log


def test_changed_upload_is_one_sighup(started: RunningAmphora) -> None:
    pid = pid_of(started)
    assert put(started, started.sample(f"lvs/{IDLE[0]}") + "\n# changed\n").status == 200
    assert act(started, "reload").status == 202
    wait_for(lambda: "Reloading" in log_of(started), "keepalived does not reload")
    assert pid_of(started) == pid
    assert log_of(started).count("Starting Keepalived") == 1


def test_agent_restart_leaves_keepalived_alone(started: RunningAmphora) -> None:
    pid = pid_of(started)
    started.restart()
    assert act(started, "reload").status == 202
    assert pid_of(started) == pid


def test_killed_keepalived_comes_back(started: RunningAmphora) -> None:
    pid = pid_of(started)
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        with contextlib.suppress(FileNotFoundError, ValueError):  # keepalived removes the file and fills it anew
            return pid_of(started) != pid
        return False

    wait_for(is_back, "keepalived stays dead")


def test_pid_file_that_a_power_cut_left_keeps_nothing_down(started: RunningAmphora) -> None:
    """keepalived would end as "already running" whenever some process has the pid of before."""
    started.power_off()
    for suffix in (".pid", ".vrrp.pid", ".check.pid"):
        conf(started).with_suffix(suffix).write_text(f"{os.getpid()}\n")
    assert started.run(["amphora-interface", "up", "all"]).returncode == 0
    started.start()

    def is_back() -> bool:
        with contextlib.suppress(FileNotFoundError, ValueError):  # being written
            return pid_of(started) != os.getpid()
        return False

    wait_for(is_back, log_of(started))
    assert started.request("GET", "/1.0/details").json()["lvs_listener_process_count"] == 1
    assert "already running" not in log_of(started)


def test_keepalived_of_another_listener_is_not_taken_for_its_own(started: RunningAmphora) -> None:
    assert put(started, started.sample(f"lvs/{IDLE[0]}"), OTHER).status == 200
    assert act(started, "reload", OTHER).status == 202
    pid, other = pid_of(started), pid_of(started, OTHER)
    conf(started).with_suffix(".pid").write_text(f"{other}\n")
    assert started.request("GET", "/1.0/details").json()["lvs_listener_process_count"] == 1
    assert act(started, "reload").status == 202
    assert pid_of(started) not in (pid, other)
    assert pid_of(started, OTHER) == other
    assert started.request("GET", "/1.0/details").json()["lvs_listener_process_count"] == 2


def test_stored_change_waits_with_its_time_until_it_is_applied(started: RunningAmphora) -> None:
    def last_change() -> ListenerChange:
        change = listener_change.decode((started.base / "agent" / "lvs" / LISTENER / "changed").read_bytes())
        assert change is not None
        return change

    assert last_change().is_applied
    before = boot_seconds()
    assert put(started, started.sample(f"lvs/{IDLE[0]}") + "\n# changed\n").status == 200
    stored = last_change()
    assert not stored.is_applied
    assert before - 0.01 <= stored.at <= boot_seconds()
    assert put(started, started.sample(f"lvs/{IDLE[0]}")).status == 200
    assert act(started, "reload").status == 202
    assert last_change().is_applied, "it went back to what is applied"
    assert stored.at <= last_change().at <= boot_seconds()


def test_delete_after_a_crash_and_without_pid_files(started: RunningAmphora) -> None:
    for suffix in (".pid", ".vrrp.pid"):
        conf(started).with_suffix(suffix).unlink(missing_ok=True)
    assert started.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
    assert list((started.base / "lvs").glob("*keepalived*")) == []


def test_deleting_one_listener_leaves_the_other_alone(started: RunningAmphora) -> None:
    assert put(started, started.sample(f"lvs/{IDLE[0]}"), OTHER).status == 200
    assert act(started, "reload", OTHER).status == 202
    pid = pid_of(started, OTHER)
    assert started.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
    assert pid_of(started, OTHER) == pid
    assert Path(f"/proc/{pid}").exists()


def test_listener_states(started: RunningAmphora) -> None:
    listeners = started.request("GET", "/1.0/listeners").json()
    assert listeners == [{"status": "OFFLINE", "uuid": LISTENER, "type": "UDP"}]
    act(started, "stop")
    assert put(started, started.sample("lvs/15-sctp-monitor.conf")).status == 200
    conf(started).with_suffix(".pid").write_text("1\n")
    listeners = started.request("GET", "/1.0/listeners").json()
    assert listeners == [{"status": "ERROR", "uuid": LISTENER, "type": "UDP"}]


@pytest.mark.skipif(HAS_IPVS, reason="this kernel has IPVS")
def test_keepalived_that_cannot_start_is_an_error_with_its_words(amphora: RunningAmphora) -> None:
    assert put(amphora, amphora.sample("lvs/01-udp-no-monitor.conf")).status == 200
    reply = act(amphora, "reload")
    assert reply.status == 500
    assert reply.json()["message"] == f"Failed to restart keepalivedlvs listener {LISTENER}"
    assert "initialize ipvs" in reply.json()["details"]


def test_haproxy_and_lvs_ids_are_told_apart(started: RunningAmphora) -> None:
    """The configuration that is there decides; with both, it is HAProxy's."""
    reply = started.request("PUT", f"/1.0/loadbalancer/{LISTENER}/explode")
    assert (reply.status, reply.json()["details"]) == (400, "Unknown action: explode")
    assert act(started, "reload", LB_ID).json()["message"] == "Loadbalancer Not Found"


@pytest.fixture
def listening() -> Iterator[tuple[RunningAmphora, HeartbeatReceiver]]:
    with (
        RunningAmphora(started=False) as amphora,
        HeartbeatReceiver.listen(amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver,
    ):
        amphora.start()
        yield amphora, receiver


def test_heartbeats_report_the_listener(listening: tuple[RunningAmphora, HeartbeatReceiver]) -> None:
    amphora, receiver = listening
    assert put(amphora, amphora.sample(f"lvs/{IDLE[0]}")).status == 200
    assert act(amphora, "reload").status == 202
    nothing = {"tx": 0, "rx": 0, "conns": 0, "totconns": 0, "ereq": 0}
    message = receiver.receive_until(lambda message: message["listeners"] != {}).message
    assert message["listeners"] == {LISTENER: {"status": "OPEN", "stats": nothing}}
    assert message["pools"] == {}
    assert put(amphora, amphora.sample(f"lvs/{IDLE[1]}")).status == 200
    receiver.receive_until(lambda message: message["listeners"] == {})


def test_odd_listener_silences_no_other(listening: tuple[RunningAmphora, HeartbeatReceiver]) -> None:
    amphora, receiver = listening
    for listener in (LISTENER, OTHER):
        assert put(amphora, amphora.sample(f"lvs/{IDLE[0]}"), listener).status == 200
        assert act(amphora, "reload", listener).status == 202
    receiver.receive_until(lambda message: len(message["listeners"]) == 2)
    conf(amphora, OTHER).write_bytes(b"\xff\xfe# Configuration for Listener \x00\nvirtual_server_group {{{{")
    conf(amphora, OTHER).with_suffix(".check.pid").unlink(missing_ok=True)
    (amphora.base / "agent" / "lvs" / OTHER / "changed").write_bytes(b"\xff")
    receiver.drain()
    for _ in range(2):
        assert receiver.receive().message["listeners"].keys() == {LISTENER, OTHER}
    conf(amphora).with_suffix(".pid").write_text("")
    receiver.receive_until(lambda message: message["listeners"].keys() == {OTHER})


def test_member_statuses_are_kept_while_the_kernel_is_mute(
    listening: tuple[RunningAmphora, HeartbeatReceiver],
) -> None:
    if HAS_IPVS:
        pytest.skip("this kernel has IPVS")
    amphora, receiver = listening
    assert put(amphora, amphora.sample(f"lvs/{IDLE[0]}")).status == 200
    assert act(amphora, "reload").status == 202
    assert put(amphora, amphora.sample("lvs/07-udp-member-states.conf")).status == 200
    message = receiver.receive_until(lambda message: message["pools"] != {}).message
    (pool,) = message["pools"].values()
    assert pool["status"] == "UP"
    assert sorted(pool["members"].values()) == ["MAINT", "RESTARTING", "RESTARTING"]


def test_active_standby_checks_follow_what_is_stored() -> None:
    with RunningAmphora(topology="ACTIVE_STANDBY", heartbeats=False) as amphora:
        checks = amphora.base / "vrrp" / "check_scripts"
        haproxy, lvs = checks / "haproxy_check_script.sh", checks / "lvs_udp_check.sh"
        assert amphora.request("PUT", "/1.0/vrrp/upload", amphora.sample("vrrp/01-ipv4-master.conf")).status == 200
        assert haproxy.read_text() == "exit 1"
        assert not lvs.exists()
        assert put(amphora, amphora.sample(f"lvs/{IDLE[0]}")).status == 200
        assert not haproxy.exists()
        assert lvs.stat().st_mode & 0o777 == 0o500
        script = amphora.base / "vrrp" / "check_script.sh"
        assert script.stat().st_mode & 0o777 == 0o755
        assert amphora.run([amphora.inner(script)]).returncode == 0
        conf(amphora).with_suffix(".pid").write_text("1\n")
        assert amphora.run([amphora.inner(script)]).returncode == 3
        conf(amphora).with_suffix(".pid").unlink()
        assert amphora.request("DELETE", f"/1.0/listeners/{LISTENER}").status == 200
        assert haproxy.read_text() == "exit 1"
        assert amphora.run([amphora.inner(script)]).returncode == 1
