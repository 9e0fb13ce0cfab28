"""Where heartbeats go and when none is sent, as the configuration file says at each moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import wait_for
from tests.system.heartbeat.rig import AMPHORA_ID, Rig, end, free_port, open_receiver, port_of
from tests.system.heartbeat.traffic import listener

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def test_a_new_key_list_and_interval_need_no_restart(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="3600")
    process = rig.start_heartbeat()
    assert receiver.receive().message["listeners"] == {}
    with open_receiver("another") as other:
        rig.configure([f"127.0.0.1:{port_of(other)}"], heartbeat_key="another")
        for _ in range(3):
            other.receive(timeout=6)
    assert receiver.drain() == 0
    assert process.poll() is None


def test_no_change_makes_a_message_due(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="3600")
    rig.start_heartbeat()
    receiver.receive()
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="3600")
    rig.start_haproxy(listener(free_port()))
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)


def test_two_controllers_take_turns(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with open_receiver() as other:
        rig.configure(
            ["nonsense", f"127.0.0.1:{port_of(receiver)}", "[::ffff:127.0.0.1]:1x", f"127.0.0.1:{port_of(other)}"]
        )
        rig.start_heartbeat()
        assert [receiver.receive().message["seq"] for _ in range(2)] == [0, 2]
        assert [other.receive().message["seq"] for _ in range(2)] == [1, 3]
    log = rig.logged()
    assert log.count("no host:port") == 2


def test_a_new_list_is_begun_at_its_head(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with open_receiver() as second, open_receiver() as third:
        rig.configure([f"127.0.0.1:{port_of(receiver)}", f"127.0.0.1:{port_of(second)}"], heartbeat_interval="2")
        rig.start_heartbeat()
        second.receive_until(lambda m: m["seq"] == 1)
        receiver.receive_until(lambda m: m["seq"] == 2)
        rig.configure([f"127.0.0.1:{port_of(receiver)}", f"127.0.0.1:{port_of(third)}"], heartbeat_interval="2")
        assert receiver.receive().message["seq"] == 3
        assert third.receive().message["seq"] == 4


def test_a_base_directory_that_vanished_is_said_once_and_survived(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    config = rig.config_file.read_text()
    rig.config_file.write_text(config.replace(f"base_path = {rig.base}", f"base_path = {rig.base}/later"))
    (rig.base / "later").mkdir()
    rig.start_heartbeat()
    receiver.receive(timeout=10)
    (rig.base / "later").rename(rig.base / "elsewhere")
    wait_for(lambda: "cannot list" in rig.logged(), "the log")
    receiver.drain()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    (rig.base / "later").mkdir()
    receiver.receive(timeout=3)
    wait_for(lambda: "works again" in rig.logged(), "the log")  # said after the message is sent
    assert rig.logged().count("cannot list") == 1


def test_without_a_configuration_it_says_so_and_ends(rig: Rig) -> None:
    assert rig.start_heartbeat().wait(10) == 1
    assert "cannot read" in rig.logged()


@pytest.mark.parametrize("options", [{"amphora_id": ""}, {"amphora_id": "CHANGEME"}, {"heartbeat_key": ""}])
def test_without_id_or_key_nothing_is_sent(rig: Rig, receiver: HeartbeatReceiver, options: dict[str, str]) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], **options)
    rig.start_heartbeat()
    wait_for(lambda: "nothing is sent" in rig.logged(), "the log")
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    assert rig.logged().count("nothing is sent") == 1
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    assert receiver.receive(timeout=3).message["seq"] == 0


def test_the_id_of_the_first_message_stays(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    receiver.receive()
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], amphora_id="000000a2-0000-4000-8000-0000000000a2")
    wait_for(lambda: "another amphora_id is ignored" in rig.logged(), "the log")
    receiver.drain()
    assert receiver.receive().message["id"] == AMPHORA_ID


def test_silent_while_keepalived_should_run_and_does_not(rig: Rig, receiver: HeartbeatReceiver, tmp_path: Path) -> None:
    rig.paths.vrrp.config.parent.mkdir()
    rig.paths.vrrp.config.write_text("vrrp_instance x {}\n")
    other = rig.spawn(["sleep", "60"])
    rig.paths.vrrp.pid.write_text(f"{other.pid}\n")
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    stand_in = tmp_path / "keepalived"
    shutil.copy(shutil.which("tail") or "", stand_in)
    another = rig.spawn([str(stand_in), "-f", "/dev/null"])
    rig.paths.vrrp.pid.write_text(f"{another.pid}\n")
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    keepalived = rig.spawn([str(stand_in), "-f", str(rig.paths.vrrp.config)])
    rig.paths.vrrp.pid.write_text(f"{keepalived.pid}\n")
    assert receiver.receive(timeout=3).message["seq"] == 0
    end(keepalived)
    receiver.drain()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
