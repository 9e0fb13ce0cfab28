"""The closed set of errors an agent operation may end with; `api/app.py` alone knows their HTTP numbers."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import final

_LACK = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class AgentError(Exception):
    """Base of all expected failures.

    Args:
        message: one sentence; starts with "cannot" unless the wire contract fixes the text.
        detail: what the operator needs to act on it: a command's output, a field name. Never a secret.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


@final
class InvalidRequest(AgentError):
    """The caller sent something that can never work (400)."""


@final
class MalformedData(AgentError):
    """Data that is no request cannot be used: a file, an answer, a name (500; 400 where a request's body held it)."""


@final
class NotFound(AgentError):
    """The named thing does not exist here (404)."""


@final
class Conflict(AgentError):
    """The wanted state is in the way of an existing one (409)."""


@final
class HostFailure(AgentError):
    """The machine refused: a command, a file or the kernel (500)."""


def lacks_resources(error: BaseException | None) -> bool:
    """Tell whether there was no descriptor or memory left here: whom it wanted to ask may be well."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LACK:
            return True
        error = error.__cause__
    return False


@contextlib.contextmanager
def failing_as(message: str) -> Iterator[None]:
    """Re-raise an OSError as a HostFailure with this message, the system's words in the detail."""
    try:
        yield
    except OSError as error:
        raise HostFailure(message, error.strerror or str(error)) from error


@contextlib.contextmanager
def reported_as(message: str) -> Iterator[None]:
    """Re-raise a HostFailure under the contract's message, its own text in the detail."""
    try:
        yield
    except HostFailure as error:
        raise HostFailure(message, f"{error}: {error.detail}") from error
