"""What changed between two documents, object by object and by name, as `amphoractl diff` shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import Struct

from amphora_agent.core.document.model import Document, Listener, Member, Pool
from amphora_agent.core.document.problem import Path, pointer, shown, where

_SHOWN_AS_MANY = 3


class Kind(StrEnum):
    """How something differs; the value is the mark in front of it."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs.

    Attributes:
        pointer: RFC 6901, into the new document; into the old one for what was removed.
        where: the object in words: "pool web, member w2".
        detail: of a change the field and both values: "weight 5 -> 1"; of a member its address and port.
    """

    kind: Kind
    pointer: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where} {self.detail}".rstrip()


def differences(old: Document | None, new: Document | None) -> tuple[Difference, ...]:
    """Return what differs, in the order of the new document, then what is gone; all of it when one is None."""
    if old is None or new is None:
        kind, there = (Kind.ADDED, new) if old is None else (Kind.REMOVED, old)
        if there is None:
            return ()
        return (Difference(kind=kind, pointer="", where=f"load balancer {there.name}"),)
    return tuple(_of_objects(old, new, old, new, ()))


def _of_objects(was: Struct, now: Struct, old: Document, new: Document, path: Path) -> Iterator[Difference]:
    for field in now.__struct_fields__:
        before, after = getattr(was, field), getattr(now, field)
        if before == after:
            continue
        at: Path = (*path, field)
        if _is_named(before) or _is_named(after):
            yield from _of_lists(before, after, old, new, at)
        elif isinstance(before, Struct) and isinstance(after, Struct):
            yield from _of_objects(before, after, old, new, at)
        else:
            detail = f"{field} {_value(before)} -> {_value(after)}"
            yield Difference(kind=Kind.CHANGED, pointer=pointer(at), where=where(new, path), detail=detail)


def _is_named(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, Struct) and _key(each) for each in value)


def _key(each: Struct) -> object:
    """Return what tells an object of a list from the others; rules and routes have nothing."""
    if isinstance(each, (Listener, Pool, Member)) or "action" in each.__struct_fields__:
        return getattr(each, "name")  # noqa: B009  the kinds have no common base that says so
    return getattr(each, "subnet", None) and getattr(each, "address", None)


def _of_lists(
    before: Sequence[Struct], after: Sequence[Struct], old: Document, new: Document, path: Path
) -> Iterator[Difference]:
    same = _same_at_first(before, after)
    before, after = before[same:], after[same:]
    keys_before, keys_after = [_key(each) for each in before], [_key(each) for each in after]
    known, wanted = dict(zip(keys_before, before, strict=True)), set(keys_after)
    for number, (key, each) in enumerate(zip(keys_after, after, strict=True), same):
        at: Path = (*path, number)
        if key not in known:
            yield Difference(kind=Kind.ADDED, pointer=pointer(at), where=where(new, at), detail=_detail(each))
        elif known[key] != each:
            yield from _of_objects(known[key], each, old, new, at)
    for number, (key, each) in enumerate(zip(keys_before, before, strict=True), same):
        if key not in wanted:
            at = (*path, number)
            yield Difference(kind=Kind.REMOVED, pointer=pointer(at), where=where(old, at), detail=_detail(each))
    if [key for key in keys_before if key in wanted] != [key for key in keys_after if key in known]:
        yield Difference(
            kind=Kind.CHANGED, pointer=pointer(path), where=where(new, path), detail=f"order of {path[-1]}"
        )


def _same_at_first(before: Sequence[Struct], after: Sequence[Struct]) -> int:
    """Return how many objects at the beginning are equal: of ten thousand members few differ."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(before), len(after)))


def _detail(each: Struct) -> str:
    if isinstance(each, Member):
        return (
            f"[{each.address}]:{each.protocol_port}" if ":" in each.address else f"{each.address}:{each.protocol_port}"
        )
    if isinstance(each, Listener):
        return f"{each.protocol} {each.protocol_port}"
    return ""


def _value(value: object) -> str:
    if isinstance(value, tuple) and len(value) > _SHOWN_AS_MANY:
        return f"{len(value)} entries"
    if isinstance(value, (Struct, tuple, dict)):
        return shown(msgspec.json.encode(value, order="deterministic").decode())
    return shown(str(value)) if isinstance(value, str) else shown(value)
