"""The two agents that are measured, each started on a machine of the same kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.existing_agent import existing_agent
from testbed.amphora import RunningAmphora

Options = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """An agent: its name in the table, the Python it is installed for, the package, and how to start one.

    `start(options, started)` gives a context manager; its amphora has the paths of an image. `has_api_2`: whether
    documents can be put.
    """

    name: str
    python: Callable[[], str]
    packages: tuple[str, ...]
    start: Callable[[Options, bool], AbstractContextManager[RunningAmphora]]
    has_api_2: bool = False


@contextlib.contextmanager
def our_agent(options: Options, started: bool) -> Iterator[RunningAmphora]:  # noqa: FBT001  a Contestant's signature
    """Yield our agent as an image would run it, but for systemd: its direct supervisor runs HAProxy."""
    with RunningAmphora(options=options, image=True, started=started) as amphora:
        yield amphora


def their_agent(options: Options, started: bool) -> AbstractContextManager[RunningAmphora]:  # noqa: FBT001
    """Return the existing agent."""
    return existing_agent(options, started=started)
