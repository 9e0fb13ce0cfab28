"""The documents on this amphora: which there are, the revisions of each, and whose a load balancer is."""

from __future__ import annotations

from amphora_agent.core.document.stored import (
    REVISIONS,
    Stored,
    decode_stored,
    encode_stored,
)
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import Paths
from amphora_agent.errors import NotFound
from amphora_agent.host import files
from amphora_agent.operations.amphora import Amphora, Change

DIRECTORY_MODE = 0o700


def document_ids(paths: Paths) -> tuple[LoadBalancerId, ...]:
    """Return every load balancer with files of API 2.0, sorted; a deletion that was cut short is among them."""
    found = (path.name for path in paths.documents.glob("*"))
    return tuple(LoadBalancerId(name) for name in sorted(found) if is_id(name))


def find(amphora: Amphora, lb_id: LoadBalancerId) -> Stored | None:
    """Return what was applied last, None when no document was."""
    return decode_stored(files.read_optional(amphora.paths.document(lb_id).current))


def get(amphora: Amphora, lb_id: LoadBalancerId) -> Stored:
    """Return what was applied last.

    Raises:
        NotFound: there is no document of this load balancer.
    """
    stored = find(amphora, lb_id)
    if stored is None:
        raise NotFound("There is no such load balancer", f"no document of {lb_id}")
    return stored


def all_stored(amphora: Amphora) -> dict[LoadBalancerId, Stored]:
    """Return every document that was applied."""
    found = {lb_id: find(amphora, lb_id) for lb_id in document_ids(amphora.paths)}
    return {lb_id: stored for lb_id, stored in found.items() if stored is not None}


def revisions(amphora: Amphora, lb_id: LoadBalancerId) -> tuple[Stored, ...]:
    """Return the last documents that were applied, the newest first."""
    pattern = amphora.paths.document(lb_id).revision(0).name.replace("0", "*")
    found = (decode_stored(files.read_optional(path)) for path in amphora.paths.document(lb_id).directory.glob(pattern))
    return tuple(sorted((each for each in found if each is not None), key=lambda each: -each.generation))


def revision(amphora: Amphora, lb_id: LoadBalancerId, generation: int) -> Stored:
    """Return one of the last documents.

    Raises:
        NotFound: it is not kept, or there never was one.
    """
    stored = decode_stored(files.read_optional(amphora.paths.document(lb_id).revision(generation)))
    if stored is None:
        raise NotFound("There is no such revision", f"revision {generation} of {lb_id} is not kept")
    return stored


def begin(change: Change, lb_id: LoadBalancerId) -> None:
    """Say that a change is under way, before anything is touched."""
    paths = change.paths.document(lb_id)
    files.make_directory(paths.directory, DIRECTORY_MODE)
    files.write_atomic(paths.unfinished, b"")


def is_unfinished(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether the last change did not end."""
    return amphora.paths.document(lb_id).unfinished.exists()


def end(change: Change, lb_id: LoadBalancerId) -> None:
    """Say that what was applied last is what serves."""
    files.remove(change.paths.document(lb_id).unfinished)


def commit(change: Change, lb_id: LoadBalancerId, stored: Stored, *, is_revision: bool) -> None:
    """Make a document the one that was applied last: from here on a crash brings it back, not the one before."""
    paths = change.paths.document(lb_id)
    data = encode_stored(stored)
    files.write_atomic(paths.current, data)
    if is_revision:
        files.write_atomic(paths.revision(stored.generation), data)
        for old in revisions(change, lb_id)[REVISIONS:]:
            files.remove(paths.revision(old.generation))
    end(change, lb_id)


def forget(change: Change, lb_id: LoadBalancerId) -> None:
    """Make the load balancer one that is not there: from here on a crash is followed by the rest of the deletion."""
    files.remove(change.paths.document(lb_id).current)


def remove(change: Change, lb_id: LoadBalancerId) -> None:
    """Remove all that is remembered of a load balancer."""
    files.remove(change.paths.document(lb_id).directory)
