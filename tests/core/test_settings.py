"""The configuration file: the grammar of its lines, and every option's type."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.settings import FirewallMode, Settings, SupervisorKind, Topology, parse_ini, parse_settings
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
        ("amphora_id = plain", "plain"),
        ("amphora_id: colon", "colon"),
        ('amphora_id = "quoted words"', "quoted words"),
        ("amphora_id = a = b", "a = b"),
        ("amphora_id = cost $$5", "cost $5"),
        (r"amphora_id = cost \$5", "cost $5"),
        # Only what begins like a name is a reference.
        ("amphora_id = a$1b", "a$1b"),
        ("amphora_id = ${1b}$", "${1b}$"),
        ("amphora_id = $unknown.x", "1"),
        ("other = x\namphora_id = ${other}y", "xy"),
        ("other = x\namphora_id = $other-y", "x-y"),
        ("amphora_id = one\namphora_id = two", "two"),
        ("amphora_id = one\n   more", "one\nmore"),
        ("amphora_id = pässwörd", "pässwörd"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert parse_settings(f"# comment\n; another\n[amphora_agent]\n{text}\n[unknown]\nx = 1\n").amphora_id == value


@pytest.mark.parametrize(
    "text",
    [
        "key = before a section",
        "[health_manager\nx = 1",
        "[health_manager]\nno separator",
        "  indented = first",
        "[haproxy_amphora]\nbase_path = $undefined",
        "[haproxy_amphora]\nbase_path = $base_path",
        "[haproxy_amphora]\nbind_port = 70000",
        "[haproxy_amphora]\nbind_host = nowhere",
        "[amphora_agent]\nagent_tls_protocol = TLSv9",
        "[controller_worker]\nloadbalancer_topology = BOTH",
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(MalformedData) as raised:
        parse_settings(text)
    assert raised.value.detail


@pytest.mark.hardening("D24")
@pytest.mark.parametrize(
    ("option", "section", "value", "is_mistyped"),
    [
        ("agent_request_read_timeout", "amphora_agent", "0", False),
        ("agent_request_read_timeout", "amphora_agent", "9999999999", False),
        ("agent_request_read_timeout", "amphora_agent", "soon", True),
        ("agent_request_read_timeout", "amphora_agent", "-1", False),
        ("heartbeat_interval", "health_manager", "0", False),
        ("heartbeat_interval", "health_manager", "ten", True),
        ("administrative_log_facility", "amphora_agent", "8", False),
        ("hard_stop_after", "amphora_agent", "0", False),
        ("max_old_workers", "amphora_agent", "-", True),
        ("runtime_changes", "amphora_agent", "perhaps", True),
        ("reduced_checks", "amphora_agent", "perhaps", True),
        ("new_members_start_down", "amphora_agent", "2", True),
        ("use_syslog", "DEFAULT", "perhaps", True),
        ("debug", "DEFAULT", "perhaps", True),
    ],
)
def test_an_odd_harmless_option_counts_as_its_default_and_is_named(
    option: str, section: str, value: str, *, is_mistyped: bool
) -> None:
    settings = parse_settings(f"[{section}]\n{option} = {value}\n")
    assert getattr(settings, option) == getattr(Settings(), option)
    assert settings == Settings(), "what is odd is for the log alone"
    (oddity,) = settings.oddities
    assert oddity.text.startswith(f"[{section}] {option} must be ")
    assert value not in oddity.text.replace("from 0 to", "").replace("10", "") or len(value) == 1
    assert oddity.is_mistyped is is_mistyped


@pytest.mark.hardening("D19")
@pytest.mark.parametrize(
    "key", ["$undefined", "pa$$word", "a$heartbeat_key", "${x", "$DEFAULT.debug", "secret$undefined", r"cost \$5"]
)
def test_the_heartbeat_key_is_taken_as_it_stands(key: str) -> None:
    settings = parse_settings(f"[DEFAULT]\ndebug = true\n[health_manager]\nheartbeat_key = {key}\n")
    assert settings.heartbeat_key == key
    assert key not in repr(settings)


@pytest.mark.hardening("D19")
@pytest.mark.parametrize("text", ["[amphora_agent]\namphora_id = secret$word", "[health_manager]\nsecret word"])
def test_a_refusal_never_shows_any_part_of_a_value(text: str) -> None:
    with pytest.raises(MalformedData) as raised:
        parse_settings(text)
    assert "secret" not in str(raised.value) + raised.value.detail
    assert "word" not in str(raised.value) + raised.value.detail


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


@pytest.mark.parametrize("letter", ["\u0085", "\u2028", "\u2029", "\f", "\v", "\x1c"])
def test_only_line_feeds_end_a_line(letter: str) -> None:
    """A value that a stranger chose may not become an option of its own."""
    text = f"[health_manager]\nheartbeat_key = a{letter}controller_ip_port_list = 192.0.2.9:5555\r\n"
    assert parse_ini(text) == {
        "health_manager": {"heartbeat_key": f"a{letter}controller_ip_port_list = 192.0.2.9:5555"}
    }


def test_the_firewall_is_on_and_its_patterns_are_lines_as_they_stand() -> None:
    assert parse_settings("").configuration_firewall is FirewallMode.ENFORCE
    patterns = "configuration_allow =\n    acl * src $x\n    errorfile 503 /a\n"
    settings = parse_settings(f"[amphora_agent]\nconfiguration_firewall = warn\n{patterns}")
    assert settings.configuration_firewall is FirewallMode.WARN
    assert settings.configuration_allow == ("acl * src $x", "errorfile 503 /a")
