"""The record of an LVS listener's last change, for heartbeats: its members may be on their way into the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.records.document import (
    FIRST_VERSION,
    decode_document,
    encode_document,
    is_number,
    mapping,
)

VERSION = 2
# Before the time, in files of the first release: stored and not applied yet.
_PENDING = b"pending"


@dataclass(frozen=True, slots=True)
class ListenerChange:
    """A change, `at` so many seconds after boot; `is_applied` is false while it is only stored."""

    at: float
    is_applied: bool


def encode(change: ListenerChange) -> bytes:
    """Return the content of `LvsPaths.changed`."""
    return encode_document(VERSION, {"at": change.at, "is_applied": change.is_applied})


def decode(data: bytes | None) -> ListenerChange | None:
    """Return the change, None when it is not known."""
    if data is not None and data.startswith(_PENDING):
        change = decode_document(data.removeprefix(_PENDING), {FIRST_VERSION: _read_time})
        return None if change is None else ListenerChange(change.at, is_applied=False)
    return decode_document(data, {VERSION: _read, FIRST_VERSION: _read_time})


def _read(document: object) -> ListenerChange:
    fields = mapping(document)
    is_applied = fields["is_applied"]
    if not isinstance(is_applied, bool):
        raise TypeError
    return ListenerChange(_seconds(fields["at"]), is_applied)


def _read_time(document: object) -> ListenerChange:
    return ListenerChange(_seconds(document), is_applied=True)


def _seconds(value: object) -> float:
    if not is_number(value):
        raise TypeError
    return float(value)
