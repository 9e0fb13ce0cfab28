"""One running HAProxy as the runtime API reaches it: commands that must be carried out, and questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.runtime import Command
from amphora_agent.core.haproxy.version import Version
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.haproxy.socket import query

COMMAND_TIMEOUT = 3.0
FAILURE = "cannot change HAProxy at run time"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProxy:
    """`removing` is the record of servers that wait for deletion; `timeout` the seconds each command may take."""

    socket: Path
    removing: Path
    version: Version
    timeout: float = COMMAND_TIMEOUT

    def send(self, command: Command, deadline: Deadline | None = None) -> None:
        """Send one command.

        Args:
            command: what to do.
            deadline: of all that the command is a part of.

        Raises:
            HostFailure: it was not carried out, or that is not known.
        """
        answer = self.ask(command.text, deadline, command.payload)
        if not command.accepts(answer):
            raise HostFailure(FAILURE, f"{command.text}: {answer.strip()[:300]}")

    def ask(self, text: str, deadline: Deadline | None = None, payload: str = "") -> str:
        """Send one command and return its answer, whatever it says.

        Raises:
            HostFailure: there was none in time.
        """
        timeout = self.timeout if deadline is None else min(self.timeout, deadline.require(FAILURE))
        return query(self.socket, text, timeout, payload).decode("utf-8", "replace")
