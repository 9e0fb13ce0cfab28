"""The life of a load balancer on real HAProxy: upload, start, reload, stop, delete, and every way these can fail."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import ssl
import threading
import time
from pathlib import Path

from testbed.amphora import AMPHORA_ID, LB_ID, RunningAmphora
from testbed.scenario import LISTENER_ID, Scenario
from testbed.waiting import wait_for
from testbed.web_server import get

BASIC = "haproxy/01-http-basic.cfg"
SECONDS = 20.0


def master_pid(amphora: RunningAmphora) -> int:
    return int((amphora.base / LB_ID / f"{LB_ID}.pid").read_text().split()[0])


def workers(amphora: RunningAmphora) -> set[int]:
    """The processes in the load balancer's namespace, its HAProxy master left out."""
    return set(amphora.netns.pids()) - {master_pid(amphora)}


def wait_for_one_worker(amphora: RunningAmphora) -> int:
    wait_for(lambda: len(workers(amphora)) == 1, "old workers end")
    return workers(amphora).pop()


def get_until(scenario: Scenario, *, timeout: float = SECONDS) -> str:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return scenario.get(timeout=1.0)
        except OSError:
            assert time.monotonic() < deadline, "the VIP answers"


def test_a_controllers_first_listener(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    reply = plugged.upload(config)
    md5 = hashlib.md5(config.encode(), usedforsecurity=False).hexdigest()
    assert (reply.status, reply.json(), reply.headers["etag"]) == (202, {"message": "OK"}, md5)
    stored = plugged.amphora.base / LB_ID / "haproxy.cfg"
    assert stored.read_text() == config
    assert stored.stat().st_mode & 0o777 == 0o600
    reply = plugged.amphora.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy")
    assert (reply.body.decode(), reply.headers["etag"]) == (config, md5)
    assert reply.headers["content-type"] == "text/plain; charset=UTF-8"

    reply = plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload")
    assert reply.status == 202
    assert reply.json()["details"] == f"Configuration file is valid\nhaproxy daemon for {LB_ID} started"
    assert {plugged.get() for _ in range(10)} == {"web1", "web2"}

    listeners = plugged.amphora.request("GET", "/1.0/listeners").json()
    assert listeners == [{"status": "ACTIVE", "uuid": LISTENER_ID, "type": "HTTP"}]
    details = plugged.amphora.request("GET", "/1.0/details").json()
    assert details["listeners"] == [LISTENER_ID]
    assert details["haproxy_count"] == 1
    assert set(details["networks"]) == {"eth1", "eth2"}
    assert details["networks"]["eth1"]["network_rx"] > 0


def test_what_is_already_applied_is_left_alone(plugged: Scenario) -> None:
    plugged.apply(plugged.amphora.sample(BASIC))
    worker = wait_for_one_worker(plugged.amphora)
    plugged.apply(plugged.amphora.sample(BASIC))
    plugged.apply(plugged.amphora.sample(BASIC) + "# a comment\n\n")
    reply = plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/start")
    assert reply.status == 202
    assert workers(plugged.amphora) == {worker}


def test_a_changed_file_behind_an_identical_configuration_is_applied(plugged: Scenario) -> None:
    """A renewed certificate changes the crt-list, never haproxy.cfg."""
    amphora = plugged.amphora
    pem = (amphora.pki_dir / "server.pem").read_bytes()
    other = (amphora.pki_dir / "client.pem").read_bytes()
    directory = f"/1.0/loadbalancer/{LB_ID}/certificates"

    def served() -> bytes | None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = plugged.clients.connect("10.10.0.100", 443)
        with plain, context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True)

    for name, body in (("one.pem", pem), ("two.pem", other)):
        assert amphora.request("PUT", f"{directory}/{name}", body).status == 200
    certs = amphora.inner(amphora.cert_dir / LB_ID)
    amphora.request("PUT", f"{directory}/{LISTENER_ID}.pem", f"{certs}/one.pem\n")
    config = amphora.sample("haproxy/04-terminated-https-sni.cfg")
    plugged.apply(config)
    first = served()
    amphora.request("PUT", f"{directory}/{LISTENER_ID}.pem", f"{certs}/two.pem\n")
    plugged.apply(config)
    assert served() != first
    listeners = amphora.request("GET", "/1.0/listeners").json()
    assert listeners[0]["type"] == "TERMINATED_HTTPS"


def test_a_certificate_in_use_is_deleted_for_the_controller_alone(plugged: Scenario) -> None:
    """The controller deletes what listeners share, and may die before it sends it again."""
    amphora = plugged.amphora
    pem = (amphora.pki_dir / "server.pem").read_bytes()
    directory = f"/1.0/loadbalancer/{LB_ID}/certificates"
    shared, certs = f"{directory}/one.pem", amphora.inner(amphora.cert_dir / LB_ID)
    file = amphora.cert_dir / LB_ID / "one.pem"
    amphora.request("PUT", shared, pem)
    amphora.request("PUT", f"{directory}/{LISTENER_ID}.pem", f"{certs}/one.pem\n")
    config = amphora.sample("haproxy/04-terminated-https-sni.cfg")
    plugged.apply(config)
    assert amphora.request("DELETE", shared).status == 200
    assert amphora.request("GET", shared).status == 404
    os.kill(master_pid(amphora), signal.SIGKILL)
    assert amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202, "HAProxy starts with the file"
    # Sent again it is as if nothing had been.
    assert amphora.request("PUT", shared, pem).status == 200
    assert amphora.request("GET", shared).status == 200
    plugged.apply(config)
    assert file.exists()
    # Deleted for good it goes with the next configuration that does without.
    assert amphora.request("DELETE", shared).status == 200
    plugged.apply(config)
    assert file.exists()
    plugged.apply(amphora.sample(BASIC))
    assert not file.exists()
    assert amphora.request("DELETE", f"{directory}/{LISTENER_ID}.pem").status == 200
    assert not (amphora.cert_dir / LB_ID / f"{LISTENER_ID}.pem").exists()


def test_a_reload_under_traffic_loses_no_request(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    plugged.apply(config)
    failures: list[str] = []
    answered = 0
    stop = threading.Event()

    def ask() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                get(plugged.clients, "10.10.0.100", 80)
                answered += 1
            except OSError as error:
                failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(10):
            plugged.apply(config.replace("timeout client 50000", f"timeout client {50001 + number}"))
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert answered > 20


def test_a_rejected_configuration_changes_nothing(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    plugged.apply(config)
    worker = wait_for_one_worker(plugged.amphora)
    for bad, says in (
        (config.replace("balance roundrobin", "balunce roundrobin"), "'balunce'"),
        (config[: len(config) // 2] + "\nfrontend", "'frontend'"),
        ("complete nonsense", "line 1, 'complete'"),
        (config.replace("bind 10.10.0.100:80", "bind 10.10.0.100:80 ssl crt-list /does/not/exist.pem"), "exist.pem"),
        (config.replace("default_backend ", "default_backend no-"), "ALERT"),
    ):
        reply = plugged.upload(bad)
        assert reply.status == 400
        assert reply.json()["message"] == "Invalid request"
        assert says in reply.json()["details"]
        assert (plugged.amphora.base / LB_ID / "haproxy.cfg").read_text() == config
        assert (plugged.amphora.base / LB_ID / "haproxy.cfg.new-failed").read_text() == bad
    reply = plugged.amphora.request("PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy", b"# \xff\xfe\n")
    assert reply.status == 400
    assert "UTF-8" in reply.json()["details"]
    assert plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202
    assert workers(plugged.amphora) == {worker}


def test_utf8_and_the_word_group_survive_an_upload(amphora: RunningAmphora) -> None:
    config = amphora.sample("haproxy/31-listener-without-pool.cfg")
    odd = config.replace("    mode http", "    # käse €  group 1 \N{GRINNING FACE}\n    mode http").replace(
        "    daemon", "    daemon\n    group haproxy"
    )
    assert amphora.request("PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy", odd).status == 202
    stored = (amphora.base / LB_ID / "haproxy.cfg").read_text()
    assert "# käse €  group 1 \N{GRINNING FACE}" in stored
    assert "group haproxy" not in stored


def test_a_reload_that_fails_at_run_time_keeps_the_old_worker(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    plugged.apply(config)
    worker = wait_for_one_worker(plugged.amphora)
    with plugged.amphora.netns.open_socket() as busy:
        busy.bind(("10.10.0.100", 81))
        busy.listen()
        assert plugged.upload(config.replace("10.10.0.100:80", "10.10.0.100:81")).status == 202
        reply = plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload")
        assert reply.status == 500
        assert reply.json()["message"] == "Error reloading haproxy"
        assert "cannot bind" in reply.json()["details"]
        assert workers(plugged.amphora) == {worker}
        assert plugged.get() in ("web1", "web2")
    assert plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202
    assert plugged.get(port=81) in ("web1", "web2")


def test_a_crashed_haproxy_comes_back_and_a_reload_meanwhile_succeeds(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    plugged.apply(config)
    for _ in range(2):
        os.kill(master_pid(plugged.amphora), signal.SIGKILL)
        plugged.apply(config.replace("timeout client 50000", "timeout client 40000"))
        assert get_until(plugged) in ("web1", "web2")


def test_haproxy_outlives_the_agent(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    plugged.apply(config)
    worker = wait_for_one_worker(plugged.amphora)
    master = master_pid(plugged.amphora)
    plugged.amphora.kill()
    assert plugged.get() in ("web1", "web2")
    plugged.amphora.start()
    plugged.apply(config)
    assert workers(plugged.amphora) == {worker}
    plugged.amphora.restart()
    assert plugged.amphora.request("GET", "/1.0/details").json()["haproxy_count"] == 1
    assert (master_pid(plugged.amphora), workers(plugged.amphora)) == (master, {worker})


def test_a_restarted_agent_starts_what_died_meanwhile(plugged: Scenario) -> None:
    plugged.apply(plugged.amphora.sample(BASIC))
    plugged.amphora.stop()
    plugged.amphora.netns.kill_all()
    plugged.amphora.start()
    assert get_until(plugged) in ("web1", "web2")


def test_a_reboot_brings_everything_back(plugged: Scenario) -> None:
    plugged.apply(plugged.amphora.sample(BASIC))
    plugged.amphora.power_off()
    plugged.amphora.start()
    assert get_until(plugged) in ("web1", "web2")


def test_stop_start_and_delete(plugged: Scenario) -> None:
    amphora = plugged.amphora
    plugged.apply(amphora.sample(BASIC))
    reply = amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/stop")
    assert (reply.status, reply.json()["details"]) == (202, f"Listener {LB_ID} stoped")
    assert amphora.netns.pids() == ()
    assert amphora.request("GET", "/1.0/details").json()["haproxy_count"] == 0
    assert amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/stop").status == 202
    assert amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/start").status == 202
    assert plugged.get() in ("web1", "web2")
    for _ in range(2):
        reply = amphora.request("DELETE", f"/1.0/listeners/{LB_ID}")
        assert (reply.status, reply.json()) == (200, {"message": "OK"})
    assert amphora.netns.pids() == ()
    assert not [path for path in amphora.base.rglob("*") if LB_ID in str(path)]
    assert amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 404


def test_delete_leaves_other_load_balancers_alone(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    another = "11111111-3e34-55a2-8441-e585e4cba268"
    other = config.replace(LB_ID, another).replace("10.10.0.100:80", "10.10.0.100:88")
    plugged.apply(config)
    plugged.apply(other, lb_id=another)
    plugged.amphora.request("DELETE", f"/1.0/listeners/{LB_ID}")
    assert plugged.get(port=88) in ("web1", "web2")


def test_a_stale_pid_file_does_not_stand_for_haproxy(plugged: Scenario) -> None:
    config = plugged.amphora.sample(BASIC)
    assert plugged.upload(config).status == 202
    (plugged.amphora.base / LB_ID / f"{LB_ID}.pid").write_text("1\n")
    assert plugged.amphora.request("GET", "/1.0/details").json()["haproxy_count"] == 0
    assert plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202
    assert plugged.get() in ("web1", "web2")


def test_member_states_survive_a_reload(plugged: Scenario) -> None:
    """A member that is down is not tried again just because HAProxy was reloaded."""
    config = plugged.amphora.sample("haproxy/06-http-monitor-tcp.cfg").replace("inter 5s", "inter 1s")
    plugged.web_servers[0].stop()
    plugged.apply(config)
    wait_for(lambda: {plugged.get() for _ in range(4)} == {"web2"}, "the dead member is taken out")
    for number in range(5):
        plugged.apply(config.replace("timeout client 50000", f"timeout client {50001 + number}"))
        assert {plugged.get() for _ in range(6)} == {"web2"}
        # It is true for this reload alone; a start weeks later must not believe it.
        assert not (plugged.amphora.base / LB_ID / "servers-state").exists()


def test_garbage_among_the_files_silences_no_read(plugged: Scenario) -> None:
    plugged.apply(plugged.amphora.sample(BASIC))
    for name, content in (("odd", b"\xff\x00frontend"), ("empty", b""), ("no-mode", b"frontend x\n  bind :1\n")):
        directory = plugged.amphora.base / name
        directory.mkdir()
        (directory / "haproxy.cfg").write_bytes(content)
    (plugged.amphora.base / "dir.with.dots").mkdir()
    (plugged.amphora.base / "agent" / LB_ID / "applied.json").write_text('{"config": 3')
    details = plugged.amphora.request("GET", "/1.0/details")
    assert details.status == 200
    assert LISTENER_ID in details.json()["listeners"]
    assert plugged.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202
    assert plugged.get() in ("web1", "web2")


def test_killed_at_any_moment_of_an_upload(plugged: Scenario) -> None:
    """SIGKILL of the whole agent at many moments: what is stored is one whole configuration or the other."""
    amphora = plugged.amphora
    configs = [amphora.sample(BASIC).replace("maxconn 50000", f"maxconn {5000 + n}") for n in range(2)]
    plugged.apply(configs[0])
    stored = amphora.base / LB_ID / "haproxy.cfg"
    for step in range(12):

        def upload(config: str = configs[step % 2]) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
                plugged.upload(config)

        thread = threading.Thread(target=upload)
        thread.start()
        time.sleep(step * 0.008)  # noqa: TID251 - the moment is the variable under test
        amphora.kill()
        thread.join()
        assert stored.read_text() in configs
        assert plugged.get() in ("web1", "web2")
        amphora.start()
        assert not list(amphora.base.rglob("*.agent-tmp"))
        assert amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload").status == 202


def test_keys_never_reach_the_disk_of_an_image_that_has_memory_for_them() -> None:
    with RunningAmphora(heartbeats=False, started=False) as amphora:
        for command in (
            ["mount", "-t", "tmpfs", "tmpfs", "/etc/systemd/system"],
            ["touch", "/etc/systemd/system/certs-ramfs.service"],
        ):
            assert amphora.run(command).returncode == 0
        amphora.start()
        path = f"/1.0/loadbalancer/{LB_ID}/certificates/a.pem"
        reply = amphora.request("PUT", path, b"key")
        assert reply.status == 500
        assert "certs-ramfs.service has not mounted" in reply.json()["details"]
        assert amphora.request("GET", path).status == 404
        directory = amphora.inner(amphora.base / "certs")
        assert amphora.run(["mount", "-t", "tmpfs", "tmpfs", directory]).returncode == 0
        assert amphora.request("PUT", path, b"key").status == 200


def test_a_full_disk_keeps_the_old_files_and_the_traffic() -> None:
    with RunningAmphora(heartbeats=False, started=False) as amphora:
        # The agent's mounts are its own: only there is base a small file system.
        small = amphora.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", amphora.inner(amphora.base)])
        assert small.returncode == 0, small.stdout
        amphora.start()
        config = amphora.sample("haproxy/31-listener-without-pool.cfg")
        path = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"
        assert amphora.request("PUT", path, config).status == 202
        certificate = f"/1.0/loadbalancer/{LB_ID}/certificates/a.pem"
        assert amphora.request("PUT", certificate, b"old").status == 200
        md5 = amphora.request("GET", certificate).json()
        amphora.run(["dd", "if=/dev/zero", f"of={amphora.inner(Path(amphora.base / 'filler'))}", "bs=1k"])
        assert amphora.request("PUT", certificate, b"x" * 100_000).status == 500
        assert amphora.request("GET", certificate).json() == md5
        reply = amphora.request("PUT", path, config + "# " + "x" * 100_000 + "\n")
        assert reply.status == 500
        assert "space" in reply.json()["details"]
        assert amphora.request("GET", f"/1.0/loadbalancer/{LB_ID}/haproxy").body.decode() == config
        assert amphora.request("GET", "/1.0/details").status == 200
        amphora.run(["rm", amphora.inner(Path(amphora.base / "filler"))])
        assert amphora.request("PUT", certificate, b"new").status == 200
