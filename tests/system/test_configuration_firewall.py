"""What a hostile configuration achieves by being uploaded: nothing, with the firewall and without it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.amphora import AMPHORA_ID, LB_ID, Reply, RunningAmphora

NAME = "haproxy/31-listener-without-pool.cfg"
PATH = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"


@pytest.fixture
def script() -> Iterator[Path]:
    """A Lua file that says who runs it, in a place where everybody may write; root's secret lies beside it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        (place / "secret").write_text("a secret")
        (place / "secret").chmod(0o600)
        lua = place / "x.lua"
        lua.write_text(
            f'local proof = io.open("{place}/proof", "w")\n'
            f'local secret = io.open("{place}/secret")\n'
            'error(string.format("proof=%s secret=%s", tostring(proof), tostring(secret)))\n'
        )
        lua.chmod(0o644)
        yield lua


def upload(amphora: RunningAmphora, line: str) -> Reply:
    config = amphora.sample(NAME).replace("    daemon\n", f"    daemon\n    {line}\n")
    return amphora.request("PUT", PATH, config)


@pytest.mark.hardening("A")
def test_lua_does_not_run_and_nothing_is_changed(script: Path) -> None:
    with RunningAmphora(heartbeats=False) as amphora:
        reply = upload(amphora, f"lua-load {script}")
        assert reply.status == 400
        assert reply.json()["message"] == "Invalid request"
        assert "line 4, 'lua-load'" in reply.json()["details"]
        assert not (script.parent / "proof").exists()
        assert sorted(path.name for path in (amphora.base / LB_ID).iterdir()) == ["haproxy.cfg.new-failed"]
        assert not (amphora.base / "agent" / LB_ID).exists()


def test_without_the_firewall_a_script_is_confined(script: Path) -> None:
    with RunningAmphora(heartbeats=False, options={"amphora_agent": {"configuration_firewall": "off"}}) as amphora:
        reply = upload(amphora, f"lua-load {script}")
        assert reply.status == 400
        assert not (script.parent / "proof").exists()
        assert "a secret" not in reply.body.decode()
        assert "proof=file" not in reply.json()["details"]
        assert "secret=file" not in reply.json()["details"]


def test_an_allowed_line_and_a_harmless_one_pass() -> None:
    options = {"amphora_agent": {"configuration_allow": "\n    anything else\n    fd-hard-limit *"}}
    with RunningAmphora(heartbeats=False, options=options) as amphora:
        assert upload(amphora, "fd-hard-limit 4000").status == 202
        assert upload(amphora, "spread-checks 3").status == 202
        assert upload(amphora, "set-dumpable").status == 400
        assert "unfamiliar lines" in amphora.log


def test_the_mode_is_read_again() -> None:
    with RunningAmphora(heartbeats=False) as amphora:
        assert upload(amphora, "set-dumpable").status == 400
        text = amphora.config_file.read_text()
        amphora.config_file.write_text(text.replace("[amphora_agent]", "[amphora_agent]\nconfiguration_firewall = off"))
        assert upload(amphora, "set-dumpable").status == 202
