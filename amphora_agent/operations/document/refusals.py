"""How operations of API 2.0 may end besides `amphora_agent.errors`; `api/v2` knows their HTTP numbers."""

from __future__ import annotations

from typing import final

from amphora_agent.core.document.problem import Problem
from amphora_agent.errors import AgentError


@final
class InvalidDocument(AgentError):
    """The document is of no use as it is; nothing was touched."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("The document is not valid", f"{len(problems)} problem(s)")
        self.problems = problems


@final
class InvalidSecret(AgentError):
    """What was uploaded is no secret of any kind, or one that TLS cannot use."""


@final
class PreconditionFailed(AgentError):
    """Somebody else changed it meanwhile; `etag` is the one of now, None when there is nothing."""

    def __init__(self, detail: str, etag: str | None) -> None:
        super().__init__("The precondition failed", detail)
        self.etag = etag


@final
class OwnedByController(AgentError):
    """A controller wrote this load balancer, so it is read-only here until it is adopted."""


@final
class InUse(AgentError):
    """Something still needs it."""


@final
class RefusedByProgram(AgentError):
    """HAProxy or the firewall refuses the configuration; what was there before serves on."""


@final
class NotApplied(AgentError):
    """The machine failed in the middle; what was there before was brought back, or will be."""
