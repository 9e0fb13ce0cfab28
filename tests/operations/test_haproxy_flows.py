"""The flows of a load balancer with real HAProxy: what each call leaves on disk, and in the process that serves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.config import peer_name
from amphora_agent.core.haproxy.endpoints import Endpoint
from amphora_agent.core.ids import AmphoraId, PemName
from amphora_agent.errors import HostFailure, InvalidRequest, NotFound
from amphora_agent.host import ports
from amphora_agent.host.procfs import process_start_time
from amphora_agent.operations import certificates, info
from amphora_agent.operations.actions import Action
from amphora_agent.operations.haproxy import follow, old_workers, store
from amphora_agent.operations.haproxy.instance import instance_of
from testbed.amphora import AMPHORA_ID, LB_ID
from testbed.operations import ADDRESS, Workbench
from testbed.pki import Pki
from testbed.scenario import LISTENER_ID
from testbed.waiting import wait_for
from tests.system.runtime.haproxies import binaries

VIP_PORT = (Endpoint(ip_address(ADDRESS), 80),)
BASIC = "haproxy/01-http-basic.cfg"
WITH_EACH_HAPROXY = pytest.mark.parametrize("bench", binaries(), ids=str, indirect=True)


def without_last_member(text: str) -> str:
    """Return a configuration without its last server line."""
    last = [line for line in text.splitlines(keepends=True) if line.lstrip().startswith("server ")][-1]
    return text.replace(last, "")


def lighter(text: str) -> str:
    """Return a configuration with other weights."""
    return re.sub(r"weight \d+", "weight 7", text)


def own_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


def last_outcome(bench: Workbench) -> str:
    return bench.amphora.changes.last[bench.lb_id].kind


def test_an_upload_touches_no_process_and_is_whole_on_disk(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.upload(text)
    assert bench.own.config.read_text() == text
    assert bench.own.config.stat().st_mode & 0o777 == 0o600
    assert bench.master() is None
    assert [path.name for path in bench.own.directory.iterdir()] == ["haproxy.cfg"]


def test_a_refused_upload_leaves_the_one_before_in_force(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    worker = bench.worker()
    with pytest.raises(InvalidRequest) as refusal:
        bench.upload(text.replace("mode http", "mode nonsense"))
    assert refusal.value.detail
    assert bench.own.config.read_text() == text
    assert bench.act(Action.RELOAD).reason
    assert bench.worker() == worker


def test_start_reload_and_stop(bench: Workbench) -> None:
    bench.upload(bench.sample(BASIC))
    assert bench.act(Action.RELOAD).started
    master, worker = bench.master(), bench.worker()
    assert not bench.act(Action.START).started
    assert (bench.master(), bench.worker()) == (master, worker)
    bench.act(Action.STOP)
    assert bench.netns.pids() == ()
    assert bench.act(Action.START).started
    assert bench.master() != master


def test_what_is_applied_already_is_left_alone(bench: Workbench) -> None:
    bench.apply(bench.sample(BASIC))
    worker = bench.worker()
    for text in (bench.sample(BASIC), bench.sample(BASIC) + "# a comment\n\n"):
        assert not bench.apply(text).started
        assert bench.worker() == worker


def test_members_change_without_a_reload(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    worker, before = bench.worker(), bench.members()
    bench.apply(lighter(text))
    assert last_outcome(bench) == "runtime"
    bench.apply(without_last_member(lighter(text)))
    assert last_outcome(bench) == "runtime"
    assert bench.worker() == worker
    # Where HAProxy cannot delete it safely yet, the member waits in maintenance: bit 1 of its administrative state.
    removed = before.keys() - {name for name, state in bench.members().items() if not int(state) & 1}
    assert len(removed) == 1


def test_what_runtime_changes_cannot_do_is_a_reload(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    master, worker = bench.master(), bench.worker()
    bench.apply(text.replace("timeout server 50000", "timeout server 40000"))
    assert last_outcome(bench) == "reload"
    assert bench.master() == master
    assert bench.worker() != worker


@pytest.mark.hardening("C15")
@WITH_EACH_HAPROXY
def test_a_reload_that_cannot_be_leaves_the_old_worker(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    worker = bench.worker()
    with bench.netns.open_socket() as taken:
        taken.bind(("10.10.0.100", 81))
        taken.listen()
        bench.upload(text.replace("bind 10.10.0.100:80", "bind 10.10.0.100:81"))
        with pytest.raises(HostFailure, match="Error reloading haproxy") as failure:
            bench.act(Action.RELOAD)
        assert f"10.10.0.100:81 is held by {own_name()} (pid {os.getpid()})" in failure.value.detail
        assert bench.worker() == worker
        assert "Paused" not in bench.own.log.read_text(), "it served all the time"
    assert not bench.act(Action.RELOAD).started
    assert bench.worker() != worker


def test_a_killed_haproxy_is_started_by_the_next_call(bench: Workbench) -> None:
    bench.apply(bench.sample(BASIC))
    for pid in bench.netns.pids():
        os.kill(pid, signal.SIGKILL)
    unit = instance_of(bench.amphora, bench.lb_id).unit
    wait_for(lambda: bench.amphora.supervisor.main_pid(unit) is None, "they end")
    assert bench.act(Action.RELOAD).started
    assert bench.members()


def test_certificates_configuration_and_reload_are_one_change(bench: Workbench) -> None:
    """Nothing else gets in between, and the whole is composed of what the controller calls one by one."""
    pem, name = Pki.mint("shop").server, PemName("one.pem")
    crt_list, text = PemName(f"{LISTENER_ID}.pem"), bench.sample("haproxy/04-terminated-https-sni.cfg")
    others: list[str] = []
    with bench.changing() as change:
        other = threading.Thread(target=lambda: others.append(bench.own.config.read_text() if _waits(bench) else ""))
        other.start()
        certificates.store(change, bench.lb_id, name, pem)
        certificates.store(change, bench.lb_id, crt_list, f"{bench.own.cert(name)}\n".encode())
        store.upload(change, peer_name(AMPHORA_ID), bench.lb_id, text.encode())
        assert follow.perform(change, bench.lb_id, Action.RELOAD).started
    other.join(10)
    assert others == [bench.own.config.read_text()]
    assert bench.own.certs.stat().st_mode & 0o777 == 0o700


def _waits(bench: Workbench) -> bool:
    with bench.changing():
        return True


def test_a_renewed_certificate_is_served_without_a_reload(bench: Workbench) -> None:
    old, new = Pki.mint("shop").server, Pki.mint("shop").issue("shop")
    path = bench.store_certificate("one.pem", old)
    bench.store_certificate(f"{LISTENER_ID}.pem", f"{path}\n".encode())
    text = bench.sample("haproxy/04-terminated-https-sni.cfg")
    bench.apply(text)
    worker = bench.worker()
    bench.store_certificate(f"{LISTENER_ID}.pem", f"{bench.store_certificate('two.pem', new)}\n".encode())
    bench.apply(text)
    assert last_outcome(bench) == "runtime"
    assert bench.worker() == worker


def test_a_certificate_in_use_is_hidden_until_nothing_needs_it(bench: Workbench) -> None:
    path = bench.store_certificate("one.pem", Pki.mint("shop").server)
    bench.store_certificate(f"{LISTENER_ID}.pem", f"{path}\n".encode())
    bench.apply(bench.sample("haproxy/04-terminated-https-sni.cfg"))
    with bench.changing() as change:
        certificates.delete(change, bench.lb_id, PemName("one.pem"))
    with pytest.raises(NotFound):
        certificates.read(bench.amphora, bench.lb_id, PemName("one.pem"))
    assert path.exists()
    bench.apply(bench.sample(BASIC))
    assert not path.exists()


def test_a_deleted_load_balancer_leaves_nothing(bench: Workbench) -> None:
    bench.store_certificate("one.pem", b"opaque")
    bench.apply(bench.sample(BASIC))
    with bench.changing() as change:
        store.delete(change, bench.lb_id)
        store.delete(change, bench.lb_id)
    assert bench.netns.pids() == ()
    assert list(bench.paths.base.rglob(f"*{LB_ID}*")) == []
    with pytest.raises(NotFound):
        bench.act(Action.RELOAD)


def test_reads_are_served_while_a_change_is_made(bench: Workbench) -> None:
    bench.apply(bench.sample(BASIC))
    found: list[int] = []
    with bench.changing():
        reader = threading.Thread(target=lambda: found.append(info.details(bench.amphora).haproxy_count))
        reader.start()
        reader.join(10)
    assert found == [1]


def test_a_change_inside_a_change_is_refused_at_once(bench: Workbench) -> None:
    with bench.changing(), pytest.raises(RuntimeError, match="hand the Change on"), bench.changing():
        pass


@pytest.mark.hardening("C14")
def test_a_refused_upload_changes_no_name_among_the_peers(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    before = bench.own.environment.read_bytes()
    other, bad = AmphoraId("11111111-2222-4333-8444-555555555555"), text.replace("mode http", "mode nonsense").encode()
    with bench.changing() as change, pytest.raises(InvalidRequest):
        store.upload(change, other, bench.lb_id, bad)
    assert bench.own.environment.read_bytes() == before


@pytest.mark.hardening("C9")
def test_a_deletion_that_is_cut_short_is_finished_at_the_next_start(bench: Workbench) -> None:
    bench.apply(bench.sample(BASIC))
    bench.store_certificate("one.pem", b"key")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(bench.own.certs)], check=True)
    try:
        with bench.changing() as change, pytest.raises(HostFailure):
            store.delete(change, bench.lb_id)
        assert info.details(bench.amphora).listeners == []
        with pytest.raises(NotFound):
            bench.act(Action.RELOAD)
    finally:
        subprocess.run(["umount", str(bench.own.certs)], check=True)
    with bench.changing() as change:
        store.finish_deletions(change)
    assert [path for path in bench.paths.base.rglob("*") if LB_ID in str(path)] == []
    with bench.changing() as change:
        store.delete(change, bench.lb_id)


@pytest.mark.hardening("C12")
@pytest.mark.parametrize("kind", ["directory", "link to a file", "link to a directory", "loop"])
def test_what_a_configuration_names_may_be_no_regular_file(bench: Workbench, kind: str) -> None:
    pki = Pki.mint("localhost")
    keys = bench.store_certificate("one.pem", pki.issue("localhost"))
    elsewhere = bench.own.certs / "elsewhere.pem"
    elsewhere.mkdir(mode=0o755)
    named, file = elsewhere, elsewhere / "one.pem"
    shutil.copy(keys, file)
    if kind.startswith("link"):
        named = bench.own.certs / "link.pem"
        named.symlink_to(file if kind == "link to a file" else elsewhere)
    if kind == "loop":
        named = bench.own.certs / "loop.pem"
        named.symlink_to(named)
    text = bench.sample(BASIC).replace("bind 10.10.0.100:80", f"bind 10.10.0.100:80 ssl crt {named}")
    if kind != "directory":  # where a link leads may be read by root alone: HAProxy's check sees none
        with pytest.raises(InvalidRequest):
            bench.upload(text)
        return
    bench.apply(text)
    worker = bench.worker()
    bench.apply(text)
    assert bench.worker() == worker
    file.write_bytes(pki.issue("localhost"))
    assert not bench.apply(text).started
    assert bench.worker() != worker, "the renewed certificate is served"
    with bench.changing() as change:
        certificates.delete(change, bench.lb_id, PemName("one.pem"))


@pytest.mark.hardening("B2")
@WITH_EACH_HAPROXY
def test_an_old_worker_that_hangs_is_ended_after_a_while(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.apply(text)
    watcher, old = old_workers.OldWorkers(bench.amphora), bench.worker()
    with bench.connect() as held:
        held.sendall(b"GET / HTTP/1.1\r\n")
        wait_for(lambda: "\nCurrConns: 1" in bench.ask("show info"), "the connection is held")
        bench.apply(text.replace("timeout server 50000", "timeout server 40000"))
        serving = bench.worker()
        for _ in range(old_workers.LOOKS + 1):
            watcher.look()
        assert process_start_time(old) is not None, "one that answers is left alone"
        os.kill(old, signal.SIGSTOP)
        for _ in range(old_workers.LOOKS):
            assert process_start_time(old) is not None
            watcher.look()
        wait_for(lambda: process_start_time(old) is None, "it is gone")
    assert bench.worker() == serving
    assert bench.amphora.changes.counts[old_workers.COUNTED_AS] == 1
    assert bench.apply(text).reason


@contextlib.contextmanager
def foreign_haproxy(bench: Workbench) -> Iterator[subprocess.Popen[bytes]]:
    """Start HAProxy for the stored configuration as another agent would: no socket of the master, no file of ours."""
    argv = [
        *("nsenter", f"--net={bench.netns.path}", bench.amphora.started.haproxy_cmd),
        *(
            "-Ws",
            "-f",
            str(bench.own.config),
            "-f",
            str(bench.paths.user_group),
            "-p",
            str(bench.own.pid),
            "-L",
            "peer",
        ),
    ]
    # What another agent's image has: limits that are high enough.
    bench.paths.user_group.write_text("global\n    group nogroup\n    no strict-limits\n")
    with (bench.directory / "foreign.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=process.wait, daemon=True).start()
    try:
        wait_for(lambda: bench.master() == process.pid and bench.own.stats_socket.exists(), "it runs")
        wait_for(bench.accepts, "it serves")
        yield process
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.hardening("B3")
@WITH_EACH_HAPROXY
@pytest.mark.parametrize("is_changed", [False, True])
def test_a_haproxy_of_another_agent_is_replaced(bench: Workbench, is_changed: bool) -> None:  # noqa: FBT001
    text = bench.sample(BASIC)
    bench.upload(text)
    with foreign_haproxy(bench) as process:
        refused: list[OSError] = []
        done = threading.Event()

        def connect() -> None:
            while not done.wait(0.001):
                try:
                    bench.connect().close()
                except OSError as error:
                    refused.append(error)

        assert info.details(bench.amphora).haproxy_count == 1
        thread = threading.Thread(target=connect, daemon=True)
        with bench.connect() as half:
            half.sendall(b"GET / HTTP/1.1\r\nHost: half\r\n")
            thread.start()
            try:
                bench.apply(without_last_member(text) if is_changed else text)
            finally:
                done.set()
                thread.join()
            assert len(ports.listening(bench.netns.path, VIP_PORT)) == 1, "the other takes no connection any more"
            half.sendall(b"Connection: close\r\n\r\n")
            assert half.recv(100).startswith(b"HTTP/1."), "what it had begun it ended"
        wait_for(lambda: process.poll() is not None, "the other ended")
        assert refused == []
        assert len(bench.masters()) == 1
        assert bench.master() == bench.masters()[0]
        assert len(bench.members()) == (1 if is_changed else 2)
        with bench.changing() as change:
            store.delete(change, bench.lb_id)
        assert bench.netns.pids() == ()


@pytest.mark.hardening("B3")
@WITH_EACH_HAPROXY
def test_a_haproxy_of_another_agent_serves_on_where_ours_cannot_start(bench: Workbench) -> None:
    text = bench.sample(BASIC)
    bench.upload(text)
    with foreign_haproxy(bench) as process, bench.netns.open_socket() as taken:
        taken.bind(("10.10.0.100", 81))
        taken.listen()
        bench.upload(text.replace("bind 10.10.0.100:80", "bind 10.10.0.100:80\n    bind 10.10.0.100:81"))
        with pytest.raises(HostFailure):
            bench.act(Action.RELOAD)
        assert process_start_time(process.pid) is not None
        assert bench.accepts()


@pytest.mark.hardening("B3")
@WITH_EACH_HAPROXY
@pytest.mark.parametrize("how", ["stop", "delete"])
def test_stop_and_delete_end_a_haproxy_of_another_agent(bench: Workbench, how: str) -> None:
    bench.upload(bench.sample(BASIC))
    with foreign_haproxy(bench) as process:
        if how == "stop":
            bench.act(Action.STOP)
        else:
            with bench.changing() as change:
                store.delete(change, bench.lb_id)
        assert process_start_time(process.pid) is None
        assert bench.netns.pids() == ()
