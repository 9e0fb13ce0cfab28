"""What is known of keepalived itself, and the VIPs of a VRRP configuration."""

from __future__ import annotations

import re
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.ids import ListenerId
from amphora_agent.core.keepalived.process import (
    can_reload,
    lvs_unit,
    vrrp_unit,
)
from amphora_agent.core.keepalived.vrrp_config import peers, vips
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings
from amphora_agent.core.units import Unit

REPOSITORY = Path(__file__).parents[3]
SAMPLES = REPOSITORY / "testbed" / "samples" / "vrrp"
# Where keepalived as Debian builds it writes the pid of its VRRP child.
BUILT_IN = "/run/vrrp.pid"


@pytest.mark.parametrize(
    ("version", "can"),
    [
        ("Keepalived v2.2.7 (01/16,2022)", True),
        ("1:2.2.7-1+b2", True),
        ("2.3.3-1", True),
        ("2.0.14", True),
        ("1:2.0.13-1", False),
        ("Keepalived v1.4.5 (05/26,2018)", False),
        ("10.0.0", True),
        ("", False),
        ("keepalived", False),
        ("2.2", False),
    ],
)
def test_versions_that_can_reload(version: str, *, can: bool) -> None:
    assert can_reload(version) is can


def test_units_have_the_contracts_pid_files() -> None:
    paths = paths_of(Settings())
    assert "/var/lib/octavia/vrrp/octavia-keepalived.pid" in vrrp_unit(paths).argv
    unit = lvs_unit(paths, ListenerId("some-id"))
    assert unit.name == "octavia-keepalivedlvs@some-id.service"
    for suffix in (".pid", ".vrrp.pid", ".check.pid"):
        assert f"/var/lib/octavia/lvs/octavia-keepalivedlvs-some-id{suffix}" in unit.argv


@pytest.mark.parametrize(
    "unit", [vrrp_unit(paths_of(Settings())), lvs_unit(paths_of(Settings()), ListenerId("some-id"))]
)
def test_every_pid_file_keepalived_writes_is_known_to_its_supervisor(unit: Unit) -> None:
    written = {value for option, value in pairwise(unit.argv) if option in {"-p", "-r", "-c"}}
    assert {str(path) for path in unit.pid_files} == written


@pytest.mark.parametrize(
    ("name", "built_in"), [("octavia-keepalived.service", {BUILT_IN}), ("octavia-keepalivedlvs@.service", set())]
)
def test_systemd_removes_the_pid_files_before_each_start(name: str, built_in: set[str]) -> None:
    text = (REPOSITORY / "systemd" / name).read_text().replace("\\\n", "")
    started = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0].split()
    written = {value for option, value in pairwise(started) if option in {"-p", "-r", "-c"}}
    assert written
    removal = re.findall(r"^ExecStartPre=-/bin/rm -f (.*)$", text, re.MULTILINE)[0].split()
    assert set(removal) == written | built_in


@pytest.mark.parametrize(
    ("sample", "wanted"),
    [
        ("01-ipv4-master.conf", {"10.10.0.100"}),
        ("02-ipv4-backup.conf", {"10.10.0.100"}),
        ("03-ipv6-master.conf", {"2001:db8:10::100"}),
        ("04-dual-stack-additional-vips.conf", {"10.10.0.100", "10.11.0.100", "2001:db8:10::100"}),
    ],
)
def test_vips_of_the_samples(sample: str, wanted: set[str]) -> None:
    assert vips((SAMPLES / sample).read_text()) == {ip_address(text) for text in wanted}


@given(st.text())
def test_any_text_has_vips_or_none(text: str) -> None:
    vips(f"virtual_ipaddress {{\n{text}\n}}")


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.conf")), ids=lambda path: path.name)
def test_the_peer_is_the_one_advertisements_go_to(sample: Path) -> None:
    assert len(peers(sample.read_text())) == 1
    assert not set(peers(sample.read_text())) & {str(vip) for vip in vips(sample.read_text())}
