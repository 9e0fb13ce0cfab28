"""The port that keeps HAProxy and keepalived running: `systemd.py` in production, `direct.py` elsewhere."""

from __future__ import annotations

from typing import Protocol

from amphora_agent.core.units import Unit


class Supervisor(Protocol):
    """Starts, reloads, stops and restarts units; they outlive the agent. Every call is idempotent.

    Each method raises HostFailure with the reason in its detail.
    """

    def enable(self, unit: Unit) -> None:
        """Have the unit started at boot."""

    def disable(self, unit: Unit) -> None:
        """Forget the unit; it is stopped already. An unknown one is fine."""

    def start(self, unit: Unit) -> None:
        """Start the unit unless it runs. Returns once the process exists, not once it is ready."""

    def reload(self, unit: Unit) -> None:
        """Ask the running unit to read its configuration again (SIGUSR2 to HAProxy, SIGHUP to keepalived)."""

    def stop(self, unit: Unit) -> None:
        """Stop the unit and wait until it is gone."""

    def end_foreign(self, pid: int) -> None:
        """End a process that we did not start, and whatever would start it again; wait until it is gone."""

    def retire_foreign(self, pid: int, seconds: int) -> None:
        """Have a HAProxy that we did not start take no new connection and end with its last one, and nobody start it.

        Args:
            pid: its master.
            seconds: after which whatever looks after it ends it with its connections.
        """

    def main_pid(self, unit: Unit) -> int | None:
        """Return the running process, None when there is none."""

    def adopt(self, unit: Unit) -> int | None:
        """Return the running process as `main_pid` does, after taking over one that was started for the unit before."""

    def log_tail(self, unit: Unit) -> str:
        """Return the last lines the unit printed, for error messages; empty when unknown."""
