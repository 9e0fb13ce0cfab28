"""What HAProxy says of a change alone is what it says of the whole configuration: random edits, each HAProxy at hand.

`AMPHORA_SEQUENCES` is how many edits are tried, all HAProxys together; from the seed `AMPHORA_SEED`.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.config import Config, parse, render
from amphora_agent.core.haproxy.reduction import is_reducible, reduce
from tests.system.runtime.haproxies import Binary, binaries

COUNT = int(os.environ.get("AMPHORA_SEQUENCES", "300"))
BINARIES = tuple(binaries())
EDITS_PER_BASE = 12
# So many of the edits have to be of the kind that is checked alone, or the test shows nothing.
LEAST_SHARE = 0.15
OTHERS = (
    "    balance roundrobin",
    "    balance leastconn",
    "    balance first",
    "    balance source",
    "    cookie SRV insert indirect nocache",
    "    default-server inter 5s fall 3 rise 2",
    "    default-server ssl verify none",
    "    default-server weight 7",
    "    http-check send hdr Host example.org",
    "    option httpchk GET /",
    "    option allbackups",
    "    http-reuse safe",
    "    fullconn 100",
    "    use-server m1 if { path /one }",
    "    http-request deny unless { srv_is_up(m2) }",
    "    http-request deny if { nbsrv(first) lt 1 }",
    "    stick-table type ip size 100 peers shop",
    "    server-template t 1-3 10.0.9.1:80",
    "    retry-on all-retryable-errors",
    "    load-server-state-from-file global",
    "    mode tcp",
    "",
    "    # server m9 10.0.0.9:80",
)
OPTIONS = (
    "weight 1",
    "weight 256",
    "weight 257",
    "weight 0",
    "weight x",
    "check",
    "check inter 5s",
    "inter 0",
    "fall 3 rise 3",
    "fall 0",
    "backup",
    "disabled",
    "cookie c1",
    "cookie c2",
    "cookie m3",
    "addr 10.0.0.99 port 99",
    "addr somewhere",
    "port 0",
    "ssl verify none",
    "ssl verify required",
    "ssl verify required ca-file FOLDER/absent.pem",
    "crt FOLDER/absent.pem",
    "sni ssl_fc_sni",
    "sni nothing(",
    "alpn h2,http/1.1",
    "alpn ,",
    "check-alpn h2",
    "check-ssl",
    "check-sni example.org",
    "send-proxy",
    "send-proxy-v2",
    "maxconn 5",
    "maxconn 10000000000",
    "track first/m1",
    "track m2",
    "track absent",
    "id 7",
    "id 1",
    "guid abc",
    "observe layer7",
    "resolvers none",
    "unheard-of",
    "# remark",
    '"check"',
    "ciphers ALL",
    "slowstart 5s",
)
ADDRESSES = (
    "10.0.0.1:80",
    "10.0.0.2:8080",
    "[2001:db8::1]:80",
    "2001:db8::2:80",
    "10.0.0.3",
    "10.0.0.4:0",
    "x:80",
    ":80",
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="red", dir="/tmp"))
    yield place
    shutil.rmtree(place)


def server(dice: random.Random) -> str:
    """Return a server line, most often one like members'."""
    name = f"m{dice.randint(1, 12)}"
    if dice.random() < 0.7:
        options = ["weight 1"] if dice.random() < 0.5 else []
        options += [dice.choice(OPTIONS)] if dice.random() < 0.3 else []
        address = f"10.0.1.{dice.randint(1, 200)}:80"
    else:
        options = dice.sample(OPTIONS, dice.randint(0, 3))
        address = dice.choice(ADDRESSES)
    start = dice.choices(("    server ", "\tserver ", "    server\t", "server ", '    "server" '), (20, 2, 1, 1, 1))[0]
    return f"{start}{' '.join((name, address, *options))}"


def backend(dice: random.Random) -> list[str]:
    """Return the lines of a backend."""
    names = random.Random(dice.random()).sample(range(1, 13), dice.randint(0, 5))  # noqa: S311
    servers = [f"    server m{name} 10.0.0.{name}:80 weight {dice.randint(0, 9)}" for name in names]
    servers = [line + (f" cookie c{at}" if dice.random() < 0.2 else "") for at, line in enumerate(servers)]
    lines = [*dice.sample(OTHERS, dice.randint(0, 4)), *servers, *dice.sample(OTHERS, dice.randint(0, 1))]
    if dice.random() < 0.1:
        lines.append(server(dice))
    return lines


def text_of(backends: list[list[str]], top: list[str]) -> str:
    """Return a whole configuration."""
    names = ("first", "second")
    head = """global
    maxconn 100
    server-state-file FOLDER/state
{top}
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
peers shop
    peer local 127.0.0.1:10000
frontend entrance
    bind 127.0.0.1:8080
    default_backend first
""".replace("{top}", "\n".join(top))
    return head + "".join(
        f"backend {name}\n" + "".join(f"{line}\n" for line in lines)
        for name, lines in zip(names, backends, strict=True)
    )


def edit(dice: random.Random, backends: list[list[str]]) -> list[list[str]]:
    """Return the backends after a few changes."""
    changed = [list(lines) for lines in backends]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        lines = dice.choice(changed)
        at = dice.randrange(len(lines) + 1)
        kind = dice.random()
        if kind < 0.45:
            lines.insert(at, server(dice))
        elif kind < 0.65 and lines:
            del lines[min(at, len(lines) - 1)]
        elif kind < 0.85 and lines:
            at = min(at, len(lines) - 1)
            lines[at] = f"{lines[at]} {dice.choice(OPTIONS)}" if dice.random() < 0.6 else server(dice)
        elif kind < 0.92:
            dice.shuffle(lines)
        elif kind < 0.96:
            lines.insert(at, dice.choice(OTHERS))
        elif lines:
            dice.choice(changed).insert(0, dice.choice(lines))
    return changed


def accepts(binary: Binary, folder: Path, name: str, text: str) -> bool:
    """Return HAProxy's verdict."""
    path = folder / name
    path.write_text(text.replace("FOLDER", str(folder)))
    argv = [*binary.argv, "-c", "-L", "local", "-f", str(path)]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


def reducible(dice: random.Random, binary: Binary, folder: Path) -> tuple[list[list[str]], list[str], Config]:
    """Return a configuration that HAProxy accepts and whose changes can be checked alone."""
    while True:
        backends, top = [backend(dice), backend(dice)], dice.choices(([], ["    zero-warning"]), (20, 1))[0]
        text = text_of(backends, top)
        if is_reducible(parse(text)) and accepts(binary, folder, "base.cfg", text):
            return backends, top, parse(text)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("binary", BINARIES, ids=str)
def test_a_change_is_accepted_alone_only_if_the_whole_is(binary: Binary, folder: Path) -> None:
    dice = random.Random(f"{os.environ['AMPHORA_SEED']} {binary}")  # noqa: S311
    tried = alone = agreed = 0
    while tried < COUNT // len(BINARIES):
        backends, top, accepted = reducible(dice, binary, folder)
        for _ in range(EDITS_PER_BASE):
            tried += 1
            text = text_of(edit(dice, backends), top)
            reduced = reduce(accepted, parse(text))
            if reduced is None:
                continue
            alone += 1
            if not accepts(binary, folder, "reduced.cfg", render(reduced)):
                continue  # no verdict: the whole is checked
            assert accepts(binary, folder, "whole.cfg", text), f"{render(accepted)}\n-----\n{text}\n-----\n{reduced}"
            agreed += 1
    assert agreed >= tried * LEAST_SHARE, f"{tried} edits, {alone} checked alone, {agreed} of them accepted"
