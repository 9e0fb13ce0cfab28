"""The configuration file: the grammar of its lines, and every option's type."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.settings import Settings, SupervisorKind, Topology, parse_ini, parse_settings
from amphora_agent.errors import MalformedData

SAMPLES = Path(__file__).parents[2] / "testbed" / "samples" / "agent"


def test_the_controllers_file() -> None:
    settings = parse_settings((SAMPLES / "amphora-agent-single.conf").read_text())
    assert settings == Settings(
        use_syslog=True,
        controller_ip_port_list=("192.0.2.1:5555", "[2001:db8::1]:5555"),
        heartbeat_key="insecure",
        amphora_id="badf474f-b45d-5d8b-80bb-35dbe5e8281e",
    )
    standby = parse_settings((SAMPLES / "amphora-agent-active_standby.conf").read_text())
    assert standby.loadbalancer_topology is Topology.ACTIVE_STANDBY


def test_the_sample_file_says_the_defaults() -> None:
    sample = (Path(__file__).parents[2] / "etc" / "amphora-agent.conf").read_text()
    assert parse_settings(sample) == Settings()
    uncommented = "\n".join(
        line.removeprefix("# ").partition("   ")[0] if line.startswith("# ") and " = " in line else line
        for line in sample.splitlines()
    )
    settings = parse_settings(uncommented)
    assert settings.agent_server_network_dir == Settings().agent_server_network_dir
    assert settings.hard_stop_after == Settings().hard_stop_after
    assert settings.supervisor is SupervisorKind.AUTO


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("heartbeat_key = plain", "plain"),
        ("heartbeat_key: colon", "colon"),
        ('heartbeat_key = "quoted words"', "quoted words"),
        ("heartbeat_key = a = b", "a = b"),
        ("heartbeat_key = cost $$5", "cost $5"),
        (r"heartbeat_key = cost \$5", "cost $5"),
        # Only what begins like a name is a reference.
        ("heartbeat_key = a$1b", "a$1b"),
        ("heartbeat_key = ${1b}$", "${1b}$"),
        ("heartbeat_key = $unknown.x", "1"),
        ("other = x\nheartbeat_key = ${other}y", "xy"),
        ("other = x\nheartbeat_key = $other-y", "x-y"),
        ("heartbeat_key = one\nheartbeat_key = two", "two"),
        ("heartbeat_key = one\n   more", "one\nmore"),
        ("heartbeat_key = pässwörd", "pässwörd"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert parse_settings(f"# comment\n; another\n[health_manager]\n{text}\n[unknown]\nx = 1\n").heartbeat_key == value


@pytest.mark.parametrize(
    "text",
    [
        "key = before a section",
        "[health_manager\nx = 1",
        "[health_manager]\nno separator",
        "  indented = first",
        "[health_manager]\nheartbeat_interval = ten",
        "[health_manager]\nheartbeat_interval = 0",
        "[health_manager]\nheartbeat_key = $undefined",
        "[health_manager]\nheartbeat_key = $heartbeat_key",
        "[haproxy_amphora]\nbind_port = 70000",
        "[haproxy_amphora]\nbind_host = nowhere",
        "[amphora_agent]\nagent_tls_protocol = TLSv9",
        "[controller_worker]\nloadbalancer_topology = BOTH",
        "[DEFAULT]\ndebug = perhaps",
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(MalformedData) as raised:
        parse_settings(text)
    assert raised.value.detail


def test_a_refusal_never_shows_a_value() -> None:
    with pytest.raises(MalformedData) as raised:
        parse_settings("[health_manager]\nheartbeat_key = secret$undefined\n")
    assert "secret" not in str(raised.value) + raised.value.detail
    assert "secret" not in repr(parse_settings("[health_manager]\nheartbeat_key = secret\n"))


def test_the_log_facility_is_found_where_the_controller_puts_it() -> None:
    in_haproxy = "[haproxy_amphora]\nadministrative_log_facility = 5\n"
    assert parse_settings(in_haproxy).administrative_log_facility == 5
    both = in_haproxy + "[amphora_agent]\nadministrative_log_facility = 3\n"
    assert parse_settings(both).administrative_log_facility == 3


@given(st.text(max_size=200))
def test_any_text_is_settings_or_refused(text: str) -> None:
    try:
        parse_ini(text)
        parse_settings(text)
    except MalformedData as error:
        assert error.detail
