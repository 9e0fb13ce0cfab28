"""The record of what a running HAProxy was last given: written by the agent, read by the heartbeat too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.document import (
    decode_document,
    encode_document,
    integer,
    items,
    mapping,
    number,
    text,
    texts,
)

VERSION = 1


class Commits(StrEnum):
    """What has been replaced in a process; both in one process crash it."""

    CERTIFICATE = "certificate"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedConfig:
    """What the running HAProxy was last given, recorded after each successful start, reload or runtime plan.

    `digests`: path -> SHA-256 in hexadecimal of every file the configuration names, through its crt-lists too;
    a file that was missing is absent. `crt_lists`: path -> text of those that are crt-lists. `worker` is the process
    that was given it.

    What runtime changes leave behind, empty after a start or reload: `aliases`, path -> the name HAProxy has loaded
    it by; `commits`, what was replaced in the process; `changed_at`, seconds since boot of the last runtime change;
    `is_unfinished` while one is under way, so that an interrupted one is not taken for done.
    """

    config: str
    digests: Mapping[str, str]
    worker: ProcessId
    crt_lists: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    commits: frozenset[Commits] = frozenset()
    changed_at: float | None = None
    is_unfinished: bool = False


def encode(applied: AppliedConfig) -> bytes:
    """Return the content of `LoadBalancerPaths.applied`; the key "config" holds the configuration text."""
    content = {
        "config": applied.config,
        "digests": dict(applied.digests),
        "worker": {"pid": applied.worker.pid, "started": applied.worker.started},
        "crt_lists": dict(applied.crt_lists),
        "aliases": dict(applied.aliases),
        "commits": sorted(applied.commits),
        "changed_at": applied.changed_at,
        "is_unfinished": applied.is_unfinished,
    }
    return encode_document(VERSION, content)


def decode(data: bytes | None) -> AppliedConfig | None:
    """Return the record, None when it is not known: then the next change is a reload."""
    return decode_document(data, {VERSION: _read})


def _read(document: object) -> AppliedConfig:
    fields = mapping(document)
    worker = mapping(fields["worker"])
    changed_at = fields["changed_at"]
    return AppliedConfig(
        config=text(fields["config"]),
        digests=texts(fields["digests"]),
        worker=ProcessId(integer(worker["pid"]), integer(worker["started"])),
        crt_lists=texts(fields["crt_lists"]),
        aliases=texts(fields["aliases"]),
        commits=frozenset(Commits(text(commit)) for commit in items(fields["commits"])),
        changed_at=None if changed_at is None else number(changed_at),
        is_unfinished=fields["is_unfinished"] is not False,
    )
