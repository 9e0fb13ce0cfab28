"""The record of what a worker had counted just before a reload replaced it, for heartbeats."""

from __future__ import annotations

from dataclasses import dataclass

from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.document import decode_document, encode_document, integer, mapping, text

VERSION = 1


@dataclass(frozen=True, slots=True)
class ReplacedWorker:
    """A worker, and its answer to `show stat` as HAProxy wrote it."""

    worker: ProcessId
    stat: str


def encode(replaced: ReplacedWorker) -> bytes:
    """Return the content of `LoadBalancerPaths.replaced_worker`."""
    content = {"pid": replaced.worker.pid, "started": replaced.worker.started, "stat": replaced.stat}
    return encode_document(VERSION, content)


def decode(data: bytes | None) -> ReplacedWorker | None:
    """Return the record, None when it is not known."""
    return decode_document(data, {VERSION: _read})


def _read(document: object) -> ReplacedWorker:
    fields = mapping(document)
    return ReplacedWorker(ProcessId(integer(fields["pid"]), integer(fields["started"])), text(fields["stat"]))
