"""Which removed servers may be deleted where HAProxy does not see every user of a server. Deletes nothing."""

from __future__ import annotations

from amphora_agent.core.haproxy.config import Config
from amphora_agent.core.records.removing import Removing

# Versions that may delete a server a stream still points to delete only after every retry must be over.
UNSAFE_REMOVAL_SECONDS = 120.0


def deletable_with_care(removing: Removing, config: Config, now: float) -> Removing:
    """Return the servers that may be deleted at `now` (seconds since boot) although a stream may still point to them.

    A stream lets go of a server in maintenance when its retries are over; a client's HTTP/2 connection to it may
    stay for ever, so where members may speak HTTP/2 no server is deleted: the next reload does it.
    """
    sections = {section.name: section for section in config.sections if section.kind == "backend"}
    speaks_h2 = {name for name, section in sections.items() if any(" alpn " in line for line in section.lines)}
    return {
        backend: {name: since for name, since in names.items() if not 0 <= now - since < UNSAFE_REMOVAL_SECONDS}
        for backend, names in removing.items()
        if backend in sections and backend not in speaks_h2
    }
