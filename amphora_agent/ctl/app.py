"""Runs one command of amphoractl and turns however it ends into an exit code. Nobody ever sees a traceback."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.parser import build
from amphora_agent.ctl.screen import Screen
from amphora_agent.errors import AgentError

_COMMANDS = "amphora_agent.ctl.commands"


class _Command(Protocol):
    """A module of `commands`."""

    def run(self, context: Context) -> Exit:
        """Carry the command out."""


def run(argv: Sequence[str]) -> int:
    """Carry out a command line and return the exit code; output goes to the process's own streams.

    Decision: the module of a command is found by its name and imported when it is used. All of them together take
    0.2 s of import, a fifth of a second that `status` and the completion of a shell need not wait.
    """
    arguments = build().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows names as well as it can
    screen = Screen(sys.stdout, sys.stderr, is_json=arguments.json)
    name: str = arguments.command
    try:
        command = cast(_Command, importlib.import_module(f"{_COMMANDS}.{name}"))
        code = command.run(Context(arguments, screen))
        screen.flush()
    except KeyboardInterrupt:
        screen.note("")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return Exit.DONE
    except CommandFailure as failure:
        return _report(screen, failure)
    except AgentError as error:
        return _report(screen, CommandFailure(Exit.REFUSED, f"{error}: {error.detail}" if error.detail else str(error)))
    except Exception as error:  # noqa: BLE001 - a fault of ours is told in a line, too
        return _report(screen, CommandFailure(Exit.REFUSED, f"a fault of amphoractl {name}: {error!r}"))
    return code


def _report(screen: Screen, failure: CommandFailure) -> Exit:
    if screen.is_json:
        screen.document(
            failure.problem or {"title": str(failure), "errors": [{"detail": each} for each in failure.lines]}
        )
    screen.note(f"amphoractl: {failure}")
    for line in failure.lines:
        screen.note(f"  {line}")
    return failure.code


def _forget_output() -> None:
    """Let the interpreter's last flush go nowhere, when whoever read the output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
