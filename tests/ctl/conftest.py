"""What the tests of amphoractl share: a scripted agent, and a run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from amphora_agent.ctl.app import run
from tests.ctl.scripted import ScriptedAgent


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    errors: str


Ctl = Callable[..., Ran]


@pytest.fixture
def agent() -> Iterator[ScriptedAgent]:
    with ScriptedAgent() as scripted:
        yield scripted


@pytest.fixture
def ctl(agent: ScriptedAgent, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Return what runs a command against the scripted agent."""

    def command(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = run(["--socket", str(agent.socket), *words])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return command
