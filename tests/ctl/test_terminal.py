"""amphoractl in a real terminal, and where its output is piped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.terminal import COLOUR, Terminal
from tests.ctl.scripted import Reply, ScriptedAgent
from tests.ctl.shapes import DOCUMENT, LB, LIST, OUTCOME, STATUS

COMMAND = str(Path(sys.executable).parent / "amphoractl")
SHOP = "/2.0/loadbalancers/shop"


def scripted(agent: ScriptedAgent) -> ScriptedAgent:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=LIST))
    for lb in ("shop", LB):
        agent.on("GET", f"/2.0/loadbalancers/{lb}/status", Reply(document=STATUS))
    return agent


def test_a_terminal_has_colours(agent: ScriptedAgent) -> None:
    with Terminal([COMMAND, "--socket", str(scripted(agent).socket), "status"]) as terminal:
        assert terminal.ended() == 0
        assert b"\x1b[31mERROR" in terminal.screen
        assert terminal.shows("drained by uid 0")


def test_no_color_is_obeyed(agent: ScriptedAgent) -> None:
    command = [COMMAND, "--socket", str(scripted(agent).socket), "status"]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with Terminal(command, environment) as terminal:
            assert terminal.ended() == 0
            assert terminal.shows("drained by uid 0")
            assert re.search(rb"\x1b\[[0-9;]*3[0-9]", terminal.screen) is None


def test_what_a_server_says_moves_no_cursor(agent: ScriptedAgent) -> None:
    with Terminal([COMMAND, "--socket", str(scripted(agent).socket), "status"]) as terminal:
        terminal.ended()
        assert terminal.shows("L4TOUT: timeout?[31m")


def test_top_moves_drains_readies_and_ends(agent: ScriptedAgent) -> None:
    members = f"{SHOP}/pools/web/members"
    for member, action in (("w2", "drain"), ("w1", "ready")):
        scripted(agent).on("POST", f"{members}/{member}/{action}", Reply(document=OUTCOME))
    with Terminal([COMMAND, "--socket", str(agent.socket), "top", "--interval", "0.2"]) as terminal:
        terminal.until("[q]uit")
        terminal.press("j")
        terminal.press("d")
        terminal.until("web/w2: drain")
        terminal.press("\x1b[A")
        terminal.press("r")
        terminal.until("web/w1: ready")
        terminal.press("q")
        assert terminal.ended() == 0
    assert [asked.path for asked in agent.asked if asked.method == "POST"] == [
        f"{members}/w2/drain",
        f"{members}/w1/ready",
    ]


def test_ctrl_c_ends_it_without_a_trace(agent: ScriptedAgent) -> None:
    with Terminal([COMMAND, "--socket", str(scripted(agent).socket), "top"]) as terminal:
        terminal.until("[q]uit")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 130
        assert not terminal.shows("Traceback")
    with Terminal([COMMAND, "--socket", str(agent.socket), "wait", "shop"]) as terminal:
        terminal.until("waiting: 1 of 3 members down")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 130
        assert not terminal.shows("Traceback")


def test_a_pipe_that_closes_early_is_no_fault(agent: ScriptedAgent) -> None:
    agent.on("GET", f"{SHOP}/revisions", Reply(document=[{"number": each, "by": "x" * 100} for each in range(2000)]))
    script = f"'{COMMAND}' --socket '{agent.socket}' revisions shop | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("REVISION")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_of_any_script_are_shown_as_well_as_the_terminal_can(agent: ScriptedAgent, encoding: str) -> None:
    name = "l\u00e4den \u2603"
    agent.on("GET", "/2.0/loadbalancers", Reply(document=[{"id": LB, "name": name}]))
    agent.on("GET", f"/2.0/loadbalancers/{LB}/status", Reply(document={**STATUS, "name": name}))
    command = [COMMAND, "--socket", str(agent.socket), "status"]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(name.encode(encoding, "replace"))


def test_an_argument_of_any_bytes_is_a_name(agent: ScriptedAgent) -> None:
    done = subprocess.run([COMMAND, "--socket", str(agent.socket), "get", b"\xff"], capture_output=True, check=False)
    assert (done.returncode, agent.asked[0].path) == (3, "/2.0/loadbalancers/%FF"), done


def test_without_rich_and_yaml_it_still_works(agent: ScriptedAgent, tmp_path: Path) -> None:
    for name in ("rich", "yaml"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError(__name__)\n")
    with Terminal(
        [COMMAND, "--socket", str(scripted(agent).socket), "status", "shop"], {"PYTHONPATH": str(tmp_path)}
    ) as terminal:
        assert terminal.ended() == 0
        assert terminal.shows("drained by uid 0")


def test_status_costs_little(agent: ScriptedAgent) -> None:
    """No module that only other commands need is loaded: rich, YAML, msgspec, TLS of ours, cryptography, pyroute2."""
    scripted(agent)
    script = (
        "import sys; from amphora_agent.ctl.app import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    )
    words = ["--socket", str(agent.socket), "status", "shop"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {"rich", "yaml", "msgspec", "cryptography", "pyroute2", "asyncio", "subprocess"}


def test_events_are_followed_until_ctrl_c(agent: ScriptedAgent) -> None:
    event = {"sequence": 1, "at": "now", "kind": "applied", "subject": "shop"}
    first = Reply(document={"latest": 1, "lost": False, "events": [event]})
    second = Reply(document={"latest": 2, "lost": False, "events": [{**event, "sequence": 2, "kind": "drained"}]})
    agent.on("GET", "/2.0/events", first, second, Reply(document={"latest": 2, "lost": False, "events": []}))
    with Terminal([COMMAND, "--socket", str(agent.socket), "events", "--follow"]) as terminal:
        terminal.until("drained")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 130
    assert agent.asked[1].query == {"after": "1", "wait": "25"}


COMMANDS = (
    ["status"],
    ["status", "shop", "--json"],
    ["top", "--once"],
    ["doctor", "--config-file", "/nonexistent"],
    ["explain"],
    ["explain", "E07"],
    ["events"],
    ["validate", "SHOP"],
    ["diff", "SHOP", "--text"],
    ["apply", "SHOP"],
    ["apply", "SHOP", "--dry-run", "--json"],
    ["wait", "shop", "--for", "Programmed"],
    ["get"],
    ["get", "-o", "json"],
    ["revisions"],
    ["rollback", "3"],
    ["member", "drain", "web/w1"],
    ["member", "weight", "web/w1", "3"],
    ["secret", "list"],
    ["plug"],
    ["completion", "bash"],
    ["version"],
    ["reference", "man"],
    ["confirm"],
    ["delete", "nowhere"],
    ["nonsense"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_the_same_on_a_terminal_and_in_a_pipe(
    agent: ScriptedAgent, tmp_path: Path, words: list[str]
) -> None:
    file = tmp_path / "shop.json"
    file.write_text(json.dumps(DOCUMENT))
    whole_agent(agent)
    command = [COMMAND, "--socket", str(agent.socket), *(str(file) if word == "SHOP" else word for word in words)]
    piped = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    with Terminal(command, {"COLUMNS": "300"}) as terminal:
        code = terminal.ended()
    shown = COLOUR.sub("", terminal.screen.decode())
    assert code == piped.returncode
    assert shown.split() == (piped.stdout + piped.stderr).split()
    assert "\x1b" not in piped.stdout + piped.stderr
    assert "Traceback" not in shown


def whole_agent(agent: ScriptedAgent) -> None:
    scripted(agent)
    agent.on("GET", "/2.0/events", Reply(document={"latest": 1, "lost": False, "events": [{"kind": "applied"}]}))
    agent.on("PUT", SHOP, Reply(document=OUTCOME))
    agent.on("GET", SHOP, Reply(document=DOCUMENT))
    agent.on("GET", f"{SHOP}/revisions", Reply(document=[{"number": 3, "at": "now", "by": "uid 0"}]))
    agent.on("POST", f"{SHOP}/revisions/3/restore", Reply(document=OUTCOME))
    agent.on("POST", f"{SHOP}/confirm", Reply(document=OUTCOME))
    members = f"{SHOP}/pools/web/members"
    agent.on("POST", f"{members}/w1/drain", Reply(document=OUTCOME))
    agent.on("GET", members, Reply(document=[{"name": "w1"}]))
    agent.on("PUT", members, Reply(document=OUTCOME))
    agent.on("GET", "/2.0/secrets", Reply(document=[{"name": "shop-rsa", "kind": "certificate"}]))
    agent.on("GET", "/2.0/interfaces", Reply(document=[{"name": "eth1", "mtu": 1450}]))
    agent.on("GET", "/2.0/version", Reply(document={"agent": "1", "api": ["2.0"]}))
