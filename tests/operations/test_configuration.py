"""A configuration the agent could not start or serve with is refused, and the option is named; the old one stays."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from amphora_agent.core.paths import paths_of
from amphora_agent.errors import HostFailure
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations import configuration
from amphora_agent.operations.amphora import Amphora
from testbed.pki import Pki


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    """Options of an agent that can start: section.option -> value."""
    Pki.mint("amphora").write(tmp_path)
    (tmp_path / "base").mkdir()
    return {
        "haproxy_amphora.bind_host": "127.0.0.1",
        "haproxy_amphora.bind_port": "9443",
        "haproxy_amphora.base_path": str(tmp_path / "base"),
        "haproxy_amphora.base_cert_dir": str(tmp_path / "base" / "certs"),
        "haproxy_amphora.haproxy_cmd": "/bin/true",
        "amphora_agent.agent_server_cert": str(tmp_path / "server.pem"),
        "amphora_agent.agent_server_ca": str(tmp_path / "ca.pem"),
        "amphora_agent.agent_server_network_dir": str(tmp_path / "interfaces"),
    }


def text_of(options: dict[str, str]) -> bytes:
    """Return the file with these options."""
    lines = []
    for name, value in options.items():
        section, _, option = name.partition(".")
        lines += [f"[{section}]", f"{option} = {value}"]
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def amphora(tmp_path: Path, options: dict[str, str]) -> Amphora:
    config = tmp_path / "amphora-agent.conf"
    config.write_bytes(text_of(options))
    settings_file = SettingsFile(config)
    started = settings_file.current()
    paths = paths_of(started)
    supervisor = DirectSupervisor(paths.agent / "units")
    return Amphora(settings_file=settings_file, started=started, paths=paths, supervisor=supervisor)


def replace(amphora: Amphora, options: dict[str, str]) -> None:
    with amphora.changing() as change:
        configuration.replace(change, text_of(options))


def test_one_the_agent_can_start_with_is_taken(amphora: Amphora, options: dict[str, str]) -> None:
    options |= {"health_manager.heartbeat_interval": "7", "amphora_agent.agent_request_read_timeout": "0"}
    replace(amphora, options)
    assert amphora.settings_file.current().heartbeat_interval == 7


@pytest.mark.hardening("D18")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("amphora_agent.agent_server_cert", "/nowhere/server.pem"),
        ("amphora_agent.agent_server_cert", "/etc/hostname"),
        ("amphora_agent.agent_server_ca", "/nowhere/ca.pem"),
        ("amphora_agent.agent_server_ca", "/etc/hostname"),
        ("haproxy_amphora.bind_port", "0"),
        ("haproxy_amphora.bind_host", "192.0.2.1"),
        ("haproxy_amphora.bind_host", "2001:db8::1"),
        ("haproxy_amphora.haproxy_cmd", "/nowhere/haproxy"),
        ("haproxy_amphora.base_path", "relative"),
        ("haproxy_amphora.base_path", "/etc/hostname"),
        ("haproxy_amphora.base_cert_dir", "certs"),
        ("amphora_agent.agent_server_network_dir", "interfaces"),
        ("amphora_agent.netns", "../other"),
        ("health_manager.heartbeat_interval", "soon"),
        ("DEFAULT.debug", "perhaps"),
    ],
)
def test_one_it_cannot_start_or_serve_with_is_refused(
    amphora: Amphora, options: dict[str, str], option: str, value: str
) -> None:
    before = amphora.settings_file.path.read_bytes()
    with pytest.raises(HostFailure, match=r"Unable to update amphora-agent configuration\.") as refused:
        replace(amphora, options | {option: value})
    section, _, name = option.partition(".")
    assert f"[{section}] {name} " in refused.value.detail
    assert amphora.settings_file.path.read_bytes() == before


def test_a_port_that_another_process_has_is_refused(amphora: Amphora, options: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(HostFailure) as refused:
            replace(amphora, options | {"haproxy_amphora.bind_port": str(port)})
        assert "[haproxy_amphora] bind_port " in refused.value.detail
    with socket.create_server(("127.0.0.1", amphora.started.bind_port)):
        replace(amphora, options)  # the agent itself has its own
