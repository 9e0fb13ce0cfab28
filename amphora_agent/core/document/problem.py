"""What is wrong with a document, and where: for programs a JSON pointer, for people the names. Finds nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

Step = str | int
Path = tuple[Step, ...]

_KINDS = {
    "vips": "VIP",
    "addresses": "address",
    "gateways": "gateway",
    "routes": "route",
    "listeners": "listener",
    "l7policies": "L7 policy",
    "rules": "rule",
    "pools": "pool",
    "members": "member",
    "host_routes": "host route",
    "healthmonitor": "health monitor",
    "session_persistence": "session persistence",
    "vrrp": "VRRP",
}
_NAMES = ("name", "address")
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct.

    Attributes:
        pointer: RFC 6901.
        where: the object in words: "listener tls", "pool web, member w1"; "the document" at the top.
        detail: what was wrong.
        expected: what would be right; empty when `detail` says it all.
    """

    pointer: str
    where: str
    detail: str
    expected: str = ""


def problem(root: object, path: Path, detail: str, expected: str = "") -> Problem:
    """Return a problem at a path of the document, which is a `Struct` or what JSON gave."""
    return Problem(pointer=pointer(path), where=where(root, path), detail=detail, expected=expected)


def pointer(path: Iterable[Step]) -> str:
    """Return a path as a JSON pointer. Source: RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def where(root: object, path: Path) -> str:
    """Return the objects on the way, by kind and name."""
    found: list[str] = []
    value = root
    kind = ""
    for step in path:
        value = _child(value, step)
        if isinstance(step, int):
            found.append(f"{kind or 'entry'} {_name(value) or f'number {step + 1}'}")
            kind = ""
        elif isinstance(value, (Mapping, Struct)) and step in _KINDS:
            found.append(_KINDS[step])
        else:
            kind = _KINDS.get(step, step)
    return ", ".join(found) or "the document"


def shown(value: object) -> str:
    """Return a value for a message: short, on one line, quoted when it is text."""
    text = ascii(value) if isinstance(value, str) else str(value)
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _child(value: object, step: Step) -> object:
    if isinstance(value, Struct) and isinstance(step, str):
        return getattr(value, step, None)
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, Sequence) and not isinstance(value, str) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _name(value: object) -> str:
    """Return what an object is called, quoted when it is no plain word; empty when it is nameless."""
    for field in _NAMES:
        name = _child(value, field)
        if isinstance(name, str) and name:
            return name if name.isascii() and name.isprintable() and len(name) <= _LONGEST_NAME else shown(name)
    return ""
