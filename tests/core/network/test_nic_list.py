"""The list of NICs: one line per MAC and per name, the last one counts."""

from __future__ import annotations

from amphora_agent.core.network.nic_list import PluggedNic, name_of, parse_plugged, render_plugged, with_nic

A, B = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def test_lines_of_an_old_agent() -> None:
    data = f"{A.upper()} eth1\n\nnonsense\n{B} eth2\n{B} eth3\n".encode() + b"\xff\xfe eth9\n"
    assert parse_plugged(data) == (PluggedNic(A, "eth1"), PluggedNic(B, "eth3"))


def test_render_of_parse_is_the_same() -> None:
    data = f"{A} eth1\n{B} eth2\n".encode()
    assert render_plugged(parse_plugged(data)) == data
    assert parse_plugged(b"") == ()


def test_a_new_name_replaces_the_old_line_and_a_name_changes_hands() -> None:
    nics = (PluggedNic(A, "eth2"),)
    assert with_nic(nics, PluggedNic(A, "eth3")) == (PluggedNic(A, "eth3"),)
    assert with_nic(nics, PluggedNic(B, "eth2")) == (PluggedNic(B, "eth2"),)
    assert name_of(nics, A.upper()) == "eth2"
    assert name_of(nics, B) is None
