"""The only door to other programs: argument lists with a deadline. Never a shell."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from amphora_agent.errors import HostFailure

OUTPUT_TAIL = 4096


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended: exit code, and standard output and error as one text."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a command runs as: user and main group by number, and no other group."""

    uid: int
    gid: int


def run(argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes = b"", person: Person | None = None) -> Completed:
    """Run a command to its end and return how it ended, whatever the exit code.

    Args:
        argv: program and arguments; the program is looked up on PATH.
        timeout: seconds; the command is killed then.
        stdin: all of the command's standard input.
        person: whom it runs as; None for us.

    Raises:
        HostFailure: it could not be started or did not end in time.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            user=None if person is None else person.uid,
            group=None if person is None else person.gid,
            extra_groups=None if person is None else [],
        )
    except subprocess.TimeoutExpired as error:
        raise HostFailure(f"cannot finish {argv[0]} within {timeout:g} s", " ".join(argv)) from error
    except OSError as error:
        raise HostFailure(f"cannot run {argv[0]}", error.strerror or str(error)) from error
    return Completed(done.returncode, done.stdout.decode("utf-8", "replace"))


def check(argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes = b"") -> str:
    """Run a command that must succeed and return its output.

    Raises:
        HostFailure: also for a non-zero exit; the detail has the command, its exit code and the output's tail.
    """
    done = run(argv, timeout=timeout, stdin=stdin)
    if done.code != 0:
        raise HostFailure(f"cannot {argv[0]}", f"{' '.join(argv)}: exit {done.code}: {done.output[-OUTPUT_TAIL:]}")
    return done.output
