"""What the reader remembers from boot to boot: for which instance it has done what. Never touches the disk.

Decision: what was done once is not done again, file by file. A second writing would put back the first certificate of
the agent after the controller has replaced it; a file that could not be written, to a full disk, is written next time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """The instance, and the names of the steps done for it: paths of files, and words without a slash."""

    instance: str = ""
    done: frozenset[str] = frozenset()


def parse_progress(data: bytes | None) -> Progress:
    """Return what the file says; nothing done for nobody when it is missing or no longer makes sense."""
    try:
        document = json.loads(data or b"{}")
        return Progress(str(document["instance"]), frozenset(map(str, document["done"])))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Progress()


def render_progress(progress: Progress) -> bytes:
    """Return the file's content."""
    return json.dumps({"instance": progress.instance, "done": sorted(progress.done)}).encode()


def begin(recorded: Progress, instance: str) -> Progress:
    """Return what is done already for an instance; a drive that names none is taken for the recorded one's."""
    if recorded.instance == instance or not instance:
        return recorded
    return Progress(instance)
