"""What a config drive asks for, as values. Never touches the machine.

Decision: a part of the drive that is wrong is a complaint in words beside the parts that are right, not an exception:
an amphora that lacks its log forwarding still serves, one that lacks its certificate because of it does not. Complaints
name places and never hold content, which may be a key.
"""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.errors import InvalidRequest

DEFAULT_MODE = 0o600
_LONGEST_PATH = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveFile:
    """A file to be written; `owner` is `user` or `user:group` by name, empty for root."""

    path: str
    content: bytes
    mode: int = DEFAULT_MODE
    owner: str = ""
    is_appended: bool = False


def check_path(path: object) -> str:
    """Return a path that names one file below the root directory.

    Raises:
        InvalidRequest: relative, not a file's name, or with parts that lead elsewhere.
    """
    if not isinstance(path, str) or len(path) > _LONGEST_PATH or not path.isprintable():
        raise InvalidRequest("cannot use the path of a file", "it is no text, too long, or has control characters")
    parts = path.split("/")
    if parts[0] or not parts[-1] or {".", ".."} & set(parts):
        raise InvalidRequest("cannot use the path of a file", f"{path!r} is not absolute or leads elsewhere")
    return path
