"""The audit of an upload: every sample passes, every known way to slip in a line does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from amphora_agent.core.haproxy.audit import unexpected_lines
from amphora_agent.core.haproxy.config import parse

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
BASIC = (SAMPLES / "01-http-basic.cfg").read_text()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.cfg")), ids=lambda path: path.stem)
def test_what_the_controller_writes_is_expected(path: Path) -> None:
    assert unexpected_lines(parse(path.read_text())) == ()


@pytest.mark.parametrize(
    "line",
    [
        "    stats socket /tmp/mine level admin",
        "    lua-load /tmp/x.lua",
        "    user root",
        "    chroot /tmp",
        "    external-check command /bin/sh",
        "    setenv PATH /tmp",
        '    "lua-load" /tmp/x.lua',
    ],
)
def test_a_line_slipped_into_global_stands_out(line: str) -> None:
    assert len(unexpected_lines(parse(BASIC.replace("    daemon", f"    daemon\n{line}")))) == 1


@pytest.mark.parametrize(
    "text",
    ["program x\n    command /bin/sh\n", "listen x\n    bind :9\n", "cache x\n", "    log-format x\nprogram x\n"],
)
def test_a_section_slipped_in_stands_out(text: str) -> None:
    assert unexpected_lines(parse(f"{BASIC}\n{text}"))


@pytest.mark.parametrize(
    "line",
    [
        "    errorfile 200 /etc/shadow",
        "    http-request lua.x",
        "    stats enable",
        "    monitor-uri /x",
        "    filter x",
    ],
)
def test_a_line_slipped_into_a_frontend_stands_out(line: str) -> None:
    assert unexpected_lines(parse(BASIC.replace("    mode http", f"    mode http\n{line}", 1)))
