"""The long-running processes beside the agent, as values: what systemd calls them and how to start them without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One supervised process.

    Attributes:
        name: systemd unit, an instance of one of the shipped templates.
        argv: the same process for the direct supervisor; runs in the foreground.
        netns: path of the network namespace it runs in.
        log: where the direct supervisor sends its output.
        pid_files: what it and its children write about themselves; those of dead ones may keep it from starting.
        reload_signal: has the process read its configuration again.
    """

    name: str
    argv: tuple[str, ...]
    netns: Path
    log: Path
    pid_files: tuple[Path, ...] = ()
    reload_signal: Signals = SIGHUP
