"""The record of what a running keepalived was last given, the VRRP one or an LVS listener's."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.document import decode_document, encode_document, integer, mapping, text

VERSION = 1


@dataclass(frozen=True, slots=True)
class KeepalivedRecord:
    """A configuration, and the process that was given it."""

    config: str
    process: ProcessId


def encode(record: KeepalivedRecord) -> bytes:
    """Return the record's file content."""
    content = {"config": record.config, "pid": record.process.pid, "started": record.process.started}
    return encode_document(VERSION, content)


def decode(data: bytes | None) -> KeepalivedRecord | None:
    """Return the record, None when it is not known."""
    return decode_document(data, {VERSION: _read})


def _read(document: object) -> KeepalivedRecord:
    fields = mapping(document)
    return KeepalivedRecord(text(fields["config"]), ProcessId(integer(fields["pid"]), integer(fields["started"])))
