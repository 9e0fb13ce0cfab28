"""Ids and file names from the wire."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.ids import ListenerId, LoadBalancerId, is_id, is_pem_name
from amphora_agent.core.paths import LoadBalancerPaths, LvsPaths, Paths, VrrpPaths, paths_of
from amphora_agent.core.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "25744ac1-3e34-55a2-8441-e585e4cba268",
        "25744AC1-3E34-55A2-8441-E585E4CBA268",
        "25744ac13e3455a28441e585e4cba268",
    ],
)
def test_ids(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a/b", "a b", "a\n", "x" * 65, "ä", "a\0", "%2e", "a", "1", "A_b-9", "x" * 64),
        *("25744ac1-3e34-55a2-8441-e585e4cba268\n", "25744ac1-3e34-55a2-8441-e585e4cba26", "2" * 31, "2" * 33),
        *("25744ac13e34-55a2-8441-e585e4cba268", "{25744ac1-3e34-55a2-8441-e585e4cba268}", "g" * 32),
        *("٢" * 32, "25744ac1-3e34-55a2-8441-e585e4cba268.sock"),
    ],
)
def test_no_ids(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("text", ["a.pem", "7f699c35-164b.pem", "a.b.pem", "x" * 251 + ".pem"])
def test_pem_names(text: str) -> None:
    assert is_pem_name(text)


@pytest.mark.parametrize(
    "text",
    ["", ".pem", "a.crt", "a.pem.evil", "a..b.pem", "../a.pem", "a/b.pem", "-a.pem", "a.pem\n", "x" * 252 + ".pem"],
)
def test_no_pem_names(text: str) -> None:
    assert not is_pem_name(text)


@pytest.mark.hardening("C7")
def test_no_file_of_the_agents_own_is_an_id() -> None:
    paths = paths_of(Settings())
    own = {
        name
        for owner in (Paths, LoadBalancerPaths, LvsPaths, VrrpPaths)
        for name, member in vars(owner).items()
        if isinstance(member, cached_property)
    }
    lb_id, listener_id = LoadBalancerId("25744ac1-3e34-55a2-8441-e585e4cba268"), ListenerId("2" * 32)
    found = [
        getattr(place, name)
        for place in (paths, paths.vrrp, paths.loadbalancer(lb_id), paths.lvs(listener_id))
        for name in own
        if hasattr(place, name)
    ]
    parts = {part for path in found if isinstance(path, Path) for part in path.parts}
    assert {"plugged_interfaces", "agent", "lvs", "vrrp", "applied.json"} <= parts
    assert [part for part in sorted(parts - {lb_id, listener_id}) if is_id(part)] == []
    assert [name for name in ("units", "dhclient", "certs", "haproxy.log") if is_id(name)] == []


@given(st.text())
def test_nothing_that_is_accepted_leaves_its_directory(text: str) -> None:
    if is_id(text) or is_pem_name(text):
        assert "/" not in text
        assert text not in {".", ".."}
        assert "\0" not in text
