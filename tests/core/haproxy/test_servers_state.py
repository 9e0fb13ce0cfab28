"""The state file: what may outlive a reload, and what must come from the configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.servers_state import ServerState, filter_servers_state, parse_servers_state

HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port\n"
)
DOWN = "2 p:l 1 a 10.0.0.1 0 0 5 5 7 8 2 0 6 0 0 0 - 80 - 0 0 - - 0"
CHECK = "weight 5 check inter 5s fall 3 rise 2"


def kept(row: str, server: str) -> list[str]:
    config = parse(f"backend p:l\n    balance roundrobin\n    server {server}\n")
    text = filter_servers_state(f"{HEADER}{row}\n\n", config)
    assert text.startswith(HEADER)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    return text.removeprefix(HEADER).splitlines()


def test_a_dead_member_stays_dead() -> None:
    assert kept(DOWN, f"a 10.0.0.1:80 {CHECK}") == [DOWN]
    assert kept(DOWN, "a 10.0.0.1:80 weight 5 check inter 9s fall 9 rise 9 backup") == [DOWN]


@pytest.mark.parametrize(
    "server",
    [
        f"b 10.0.0.1:80 {CHECK}",
        f"a 10.0.0.2:80 {CHECK}",
        f"a 10.0.0.1:81 {CHECK}",
        f"a 10.0.0.1:80 {CHECK} port 9",
        f"a 10.0.0.1:80 {CHECK} addr 10.0.0.9",
        f"a 10.0.0.1:80 {CHECK} ssl verify none",
        f"a 10.0.0.1:80 {CHECK} disabled",
        "a 10.0.0.1:80 weight 5",
        f"a 10.0.0.1:80 {CHECK} unknown-option",
    ],
)
def test_another_server_or_another_check_starts_anew(server: str) -> None:
    assert kept(DOWN, server) == []


@pytest.mark.parametrize("admin", [1, 2, 3, 5, 8, 9, 12])
def test_maintenance_and_drain_never_outlive_a_reload(admin: int) -> None:
    fields = DOWN.split()
    fields[6] = str(admin)
    assert kept(" ".join(fields), f"a 10.0.0.1:80 {CHECK}") == []


def test_weight_and_remarks_come_from_the_configuration() -> None:
    fields = DOWN.split()
    fields[6], fields[7], fields[23], fields[24] = "4", "10", "10.0.0.9", "7"
    assert kept(" ".join(fields), f"a 10.0.0.1:80 {CHECK}") == [DOWN]


def test_a_check_of_its_own_is_compared() -> None:
    fields = DOWN.split()
    fields[21], fields[22] = "9000", "10.0.0.9"
    row = " ".join(fields)
    assert kept(row, f"a 10.0.0.1:80 {CHECK} addr 10.0.0.9 port 9000") == [row]
    assert kept(row, f"a 10.0.0.1:80 {CHECK} addr 10.0.0.9 port 9001") == []


def test_an_unchecked_server_has_nothing_to_carry_over() -> None:
    row = "2 p:l 1 a 10.0.0.1 2 0 5 5 7 1 0 2 0 0 0 0 - 80 - 0 0 - - 0"
    assert kept(row, f"a 10.0.0.1:80 {CHECK}") == []


@given(st.text())
def test_any_answer_gives_a_well_formed_file(text: str) -> None:
    assert filter_servers_state(text, parse("")) == HEADER


def test_states_are_parsed() -> None:
    row = "2 p:l 1 a 2001:db8::1 2 9 7 5 7 8 2 0 6 0 0 0 - 80 - 1 90 10.0.0.9 - 0"
    assert parse_servers_state(f"{HEADER}{row}\nnonsense\n\n") == (
        ServerState(
            backend="p:l",
            name="a",
            address="2001:db8::1",
            port=80,
            weight=7,
            is_maint=True,
            is_drain=True,
            has_check=True,
            uses_tls=True,
            check_address="10.0.0.9",
            check_port=90,
        ),
    )
