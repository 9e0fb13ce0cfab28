"""ACTIVE_STANDBY for real: what a client of the VIP sees when something of the MASTER dies, and when nothing does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from testbed.amphora import CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, LB_ID
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import holds, wait_for
from tests.system.ha.pair import (
    Family,
    Node,
    Outage,
    Pair,
    family_of,
    haproxy_config,
    kill,
    running_pair,
    vrrp_config,
)

pytestmark = [pytest.mark.timeout(300)]

# Three advertisements missed, one second apart, and one second for the rest.
LONGEST_OUTAGE = 4.0
# Half a second each: the full number for one family is enough.
RELOADS = {Family.IPV4: 100, Family.IPV6: 10, Family.DUAL: 10}


@pytest.fixture(scope="module", params=Family, ids=lambda family: family.value)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with running_pair(request.param) as made:
        yield made


def resume_within(pair: Pair, outages: list[Outage], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check and print how long the clients were without an answer."""
    for outage in outages:
        with capsys.disabled():
            print(f"\n    {pair.family.value}: {what}: {outage.vip} silent for {outage.longest:.2f} s")  # noqa: T201
        assert outage.longest <= LONGEST_OUTAGE, pair.describe()


@contextlib.contextmanager
def watching(pair: Pair) -> Iterator[list[Outage]]:
    """Ask every VIP all the time; the outages are to be read afterwards."""
    outages = [Outage(pair, vip) for vip in pair.vips]
    with contextlib.ExitStack() as stack:
        for outage in outages:
            stack.enter_context(outage)
        yield outages


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop HAProxy's master and workers without ending them."""
    pids = family_of(pid)
    for member in pids:
        os.kill(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in pids:
            os.kill(member, signal.SIGCONT)


def move(pair: Pair) -> Node:
    """Have the MASTER give the VIP away and wait until the other one has it; return the new MASTER."""
    old, new = pair.master(), pair.backup()
    old.put("vrrp/stop")
    wait_for(lambda: new.holds(pair.vips), pair.describe, seconds=10)
    old.put("vrrp/start")
    return pair.await_master()


def test_crashed_haproxy_is_back_before_the_vip_would_move(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    master = pair.await_master()
    with watching(pair) as outages:
        pid = master.haproxy_pid()
        kill(pid)
        wait_for(lambda: master.is_haproxy_another(pid) and pair.answers(), pair.describe, seconds=10)
    resume_within(pair, outages, "HAProxy crashed", capsys)
    assert pair.await_master() is master


def test_haproxy_that_cannot_start_gives_the_vip_away(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    master = pair.await_master()
    other = pair.backup()
    master.break_haproxy()
    try:
        with watching(pair) as outages:
            kill(master.haproxy_pid())
            wait_for(lambda: other.holds(pair.vips) and pair.answers(), pair.describe, seconds=15)
        resume_within(pair, outages, "HAProxy cannot start", capsys)
        resigned = master.amphora.base / "agent" / "vrrp" / "resigned"
        wait_for(lambda: resigned.exists() and not master.holds_any(pair.vips), pair.describe, seconds=5)
    finally:
        master.mend_haproxy()
    wait_for(lambda: not resigned.exists(), pair.describe, seconds=40)
    assert pair.await_master() is other, "an amphora that comes back does not take the VIP"


def test_dead_keepalived_gives_the_vip_away(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    master = pair.await_master()
    other = pair.backup()
    with watching(pair) as outages:
        kill(master.keepalived_pid())
        wait_for(lambda: other.holds(pair.vips), pair.describe, seconds=15)
        wait_for(lambda: not master.holds_any(pair.vips), pair.describe, seconds=15)
    resume_within(pair, outages, "keepalived killed", capsys)
    assert pair.await_master() is other


def test_keepalived_whose_parent_alone_is_killed_gives_the_vip_away(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    master = pair.await_master()
    other = pair.backup()
    with watching(pair) as outages:
        os.kill(master.keepalived_pid(), signal.SIGKILL)
        wait_for(lambda: other.holds(pair.vips) and pair.answers(), pair.describe, seconds=15)
    resume_within(pair, outages, "keepalived's parent killed", capsys)
    assert pair.await_master() is other


def test_cut_link_moves_the_vip(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    master = pair.await_master()
    other = pair.backup()
    with watching(pair) as outages:
        pair.lan.ip(f"link set {master.vip_far} down")
        try:
            wait_for(lambda: other.holds(pair.vips) and pair.answers(), pair.describe, seconds=15)
        finally:
            pair.lan.ip(f"link set {master.vip_far} up")
    resume_within(pair, outages, "link cut", capsys)
    assert pair.await_master() is other


def test_clients_stay_with_their_member_over_a_move(pair: Pair) -> None:
    pair.await_master()
    before = pair.servers_of_sources()
    assert set(before.values()) == {"web1", "web2"}
    second = move(pair)
    assert pair.servers_of_sources() == before
    assert move(pair) is not second
    assert pair.servers_of_sources() == before


def test_reloads_never_change_the_roles(pair: Pair) -> None:
    master = pair.await_master()
    before = [node.transitions for node in pair.nodes]
    pid = master.keepalived_pid()
    base = haproxy_config(master, pair.family)
    reloads = RELOADS[pair.family]
    with watching(pair) as outages:
        for number in range(reloads):
            config = base.replace("timeout client 50000", f"timeout client {50001 + number}")
            master.put(f"loadbalancer/{master.amphora.amphora_id}/{LB_ID}/haproxy", config)
            master.put(f"loadbalancer/{LB_ID}/reload")
            if number % 5 == 0:
                master.put("vrrp/upload", vrrp_config(master, pair.family, comment=str(number)))
            assert master.put("vrrp/start")["details"] == "keepalived reloaded"
            assert master.put("vrrp/reload")["details"] == "keepalived reloaded"
    assert pair.master() is master
    assert master.keepalived_pid() == pid
    assert [node.transitions for node in pair.nodes] == before, pair.describe()
    assert max(outage.longest for outage in outages) < LONGEST_OUTAGE
    assert min(outage.answers for outage in outages) > reloads


def test_spoilt_pid_file_is_mended_without_a_change_of_roles(pair: Pair) -> None:
    master = pair.await_master()
    before, pid = [node.transitions for node in pair.nodes], master.keepalived_pid()
    (master.amphora.base / "vrrp" / "octavia-keepalived.pid").write_text("garbage")
    assert master.put("vrrp/start")["details"] == "keepalived reloaded"
    assert master.keepalived_pid() == pid
    assert pair.await_master() is master
    assert [node.transitions for node in pair.nodes] == before


def test_stop_releases_the_vip_and_silences_the_heartbeat(pair: Pair) -> None:
    master = pair.await_master()
    other = pair.backup()
    with HeartbeatReceiver.listen(master.amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
        receiver.receive_until(lambda message: bool(message["listeners"]))
        assert master.put("vrrp/stop")["details"] == "keepalived stoped"
        assert not master.holds_any(pair.vips)
        wait_for(lambda: other.holds(pair.vips), pair.describe, seconds=10)
        receiver.drain()
        with pytest.raises(TimeoutError):
            receiver.receive(timeout=3.0)
        assert master.put("vrrp/start")["details"] == "keepalived started"
        receiver.receive_until(lambda message: bool(message["listeners"]))
    assert pair.await_master() is other


@pytest.mark.parametrize("pair", [Family.IPV4], indirect=True, ids=["ipv4"])
def test_hung_haproxy_moves_the_vip_unless_it_is_being_reloaded(pair: Pair) -> None:
    master = pair.await_master()
    other = pair.backup()
    flag = master.amphora.base / "agent" / LB_ID / "reloading"
    with frozen(master.haproxy_pid()):
        flag.write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME) + 60:.1f}\n")
        assert holds(lambda: master.holds(pair.vips), 17), pair.describe()
        flag.unlink()
        wait_for(lambda: other.holds(pair.vips) and pair.answers(), pair.describe, seconds=30)
    wait_for(lambda: master.role == "BACKUP", pair.describe, seconds=30)
    assert pair.await_master() is other


def test_stopped_loadbalancer_is_expected_by_no_check(pair: Pair) -> None:
    node = pair.backup()
    check = node.amphora.base / "vrrp" / "check_scripts" / "haproxy_check_script.sh"
    assert f"{LB_ID}.sock" in check.read_text()
    node.put(f"loadbalancer/{LB_ID}/stop")
    assert ".sock" not in check.read_text()
    node.put("vrrp/upload", vrrp_config(node, pair.family))
    assert ".sock" not in check.read_text()
    node.put(f"loadbalancer/{LB_ID}/start")
    assert f"{LB_ID}.sock" in check.read_text()
