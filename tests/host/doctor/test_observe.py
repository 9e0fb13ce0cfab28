"""What the doctor sees on this machine: it never fails, whatever is there, and a bundle has no secret of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amphora_agent.core.doctor.checks import CHECKS
from amphora_agent.core.ids import ListenerId, LoadBalancerId, PemName
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.host.doctor.bundle import collect
from amphora_agent.host.doctor.observe import observe, read_settings
from testbed.amphora import SAMPLES
from testbed.namespaces import Namespace, unique
from testbed.pki import Pki

LB = LoadBalancerId("25744ac1-3e34-55a2-8441-e585e4cba268")
LISTENER = ListenerId("7f699c35-164b-5869-a43d-47618ff89fe2")
PEM = PemName("x.pem")
ROOT = Path(__file__).parents[3]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def configured(directory: Path, netns: str = "none") -> Path:
    file = directory / "amphora-agent.conf"
    file.write_text(
        f"""[haproxy_amphora]
base_path = {directory}/octavia
base_cert_dir = {directory}/certs
[health_manager]
heartbeat_key = key-of-heartbeats
[amphora_agent]
agent_server_network_dir = {directory}/interfaces
agent_server_cert = {directory}/server.pem
agent_server_ca = {directory}/ca.pem
netns = {netns}
"""
    )
    return file


def paths_in(directory: Path) -> Paths:
    return paths_of(read_settings(configured(directory))[0])


def every_file(directory: Path) -> Iterator[Path]:
    """Yield the files that the doctor reads."""
    paths = paths_in(directory)
    own = paths.loadbalancer(LB)
    lvs = paths.lvs(LISTENER)
    yield from (own.config, own.applied, own.reload_only, own.pid, own.log, own.cert(PEM))
    yield from (lvs.config, lvs.pid, paths.vrrp.config, paths.vrrp.pid, paths.heartbeat_troubles)
    yield from (paths.plugged_interfaces, paths.interface("eth1"), paths.agent_cert, directory / "ca.pem")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_content_of_any_file_stops_it(tmp_path: Path, data: st.DataObject) -> None:
    for path in every_file(tmp_path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.draw(st.binary(max_size=40)))
    facts = observe(tmp_path / "amphora-agent.conf", "")
    assert not [each for each in facts.unseen if "namespace" not in each]
    for check in CHECKS:
        list(check.find(facts))


def test_directories_in_the_place_of_files_are_named(tmp_path: Path) -> None:
    for path in every_file(tmp_path):
        path.mkdir(parents=True, exist_ok=True)
    facts = observe(tmp_path / "amphora-agent.conf", "")
    assert facts.certificates == () or all(each.trouble for each in facts.certificates)
    for check in CHECKS:
        list(check.find(facts))


@needs_root
def test_who_may_not_look_is_told_so() -> None:
    program = (
        "import sys; from amphora_agent.host.doctor.observe import observe; from pathlib import Path\n"
        "facts = observe(Path(sys.argv[1]), ''); print(*facts.unseen, sep='\\n')"
    )
    namespace = Namespace.create_named(unique("doc"))
    with contextlib.closing(namespace), tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        file = configured(directory, namespace.name)
        (directory / "octavia").mkdir(mode=0o755)
        argv = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-c",
            program,
            str(file),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    if "Permission denied" in done.stderr:
        pytest.skip("nobody may not read this checkout")
    assert "the namespace: " in done.stdout, done.stderr


def test_a_bundle_of_an_amphora_has_none_of_its_secrets(tmp_path: Path) -> None:
    pki = Pki.mint("amphora")
    paths = paths_in(tmp_path)
    own = paths.loadbalancer(LB)
    contents = {
        own.config: "frontend f\n    http-request set-header Authorization Bearer-abcdef\n    acl a path /hidden\n",
        own.cert(PEM): pki.server.decode(),
        own.log: f"cannot load\n{pki.server.decode()}\nsaid vrrp-password and key-of-heartbeats\n",
        paths.vrrp.config: "vrrp_instance x {\n    auth_type PASS\n    auth_pass vrrp-password\n}\n",
        paths.agent_cert: pki.server.decode(),
    }
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    parts = dict(collect(observe(tmp_path / "amphora-agent.conf", "")))
    everything = "\n".join(parts.values())
    secrets = ["key-of-heartbeats", "vrrp-password", "Bearer-abcdef", "hidden", "Authorization"]
    secrets += [line for line in pki.server.decode().splitlines() if "-----" not in line and len(line) > 4]
    assert [each for each in secrets if each in everything] == []
    assert "said *** and ***" in parts[f"haproxy/{LB}/haproxy-log.txt"]
    assert "heartbeat_key = ***" in parts["settings.txt"]


def test_a_udp_listener_is_missed_only_once_it_was_started(tmp_path: Path) -> None:
    lvs = paths_in(tmp_path).lvs(LISTENER)
    lvs.config.parent.mkdir(parents=True)
    lvs.config.write_text((SAMPLES / "lvs" / "01-udp-no-monitor.conf").read_text())
    assert observe(tmp_path / "amphora-agent.conf", "").lvs == {}
    lvs.pid.write_text("999999999\n")
    assert observe(tmp_path / "amphora-agent.conf", "").lvs == {LISTENER: False}
    lvs.config.write_text((SAMPLES / "lvs" / "11-udp-listener-disabled.conf").read_text())
    assert observe(tmp_path / "amphora-agent.conf", "").lvs == {}
