"""The documents on this amphora: which there are, the revisions of each, and whose a load balancer is."""

from __future__ import annotations

from amphora_agent.core.document.adopted import Adopted, decode_adopted, encode_adopted
from amphora_agent.core.document.stored import REVISIONS, Stored, decode_stored, encode_stored
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import Paths
from amphora_agent.errors import NotFound
from amphora_agent.host import files
from amphora_agent.operations.amphora import Amphora, Change

DIRECTORY_MODE = 0o700


def document_ids(paths: Paths) -> tuple[LoadBalancerId, ...]:
    """Return every load balancer with files of API 2.0, sorted; a deletion that was cut short is among them."""
    found = (path.name for path in files.matching(paths.documents, "*"))
    return tuple(LoadBalancerId(name) for name in sorted(found) if is_id(name))


def find(amphora: Amphora, lb_id: LoadBalancerId) -> Stored | None:
    """Return what was applied last, None when no document was."""
    return amphora.parsed.read(amphora.paths.document(lb_id).current, decode_stored)


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


def is_unreadable(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether there is a document that this release cannot read: a later one wrote it, or a disk spoilt it."""
    return files.exists(amphora.paths.document(lb_id).current) and find(amphora, lb_id) is None


def revisions(amphora: Amphora, lb_id: LoadBalancerId) -> tuple[Stored, ...]:
    """Return the last documents that were applied, the newest first."""
    paths, current = amphora.paths.document(lb_id), find(amphora, lb_id)
    numbers = _numbers(amphora, lb_id) if current is not None else ()
    found = (decode_stored(files.read_optional(paths.revision(number))) for number in numbers)
    return tuple(each for each in found if each is not None and current and each.generation <= current.generation)


def revision(amphora: Amphora, lb_id: LoadBalancerId, generation: int) -> Stored:
    """Return one of the last documents.

    Raises:
        NotFound: it is not kept, or there never was one.
    """
    stored = decode_stored(files.read_optional(amphora.paths.document(lb_id).revision(generation)))
    if stored is None or generation > get(amphora, lb_id).generation:
        raise NotFound("There is no such revision", f"revision {generation} of {lb_id} is not kept")
    return stored


def _numbers(amphora: Amphora, lb_id: LoadBalancerId) -> tuple[int, ...]:
    """Return the generations of which there is a file, the newest first."""
    paths = amphora.paths.document(lb_id)
    prefix, _, suffix = paths.revision(0).name.partition("0")
    names = (
        path.name.removeprefix(prefix).removesuffix(suffix)
        for path in files.matching(paths.directory, f"{prefix}*{suffix}")
    )
    return tuple(sorted((int(name) for name in names if name.isdecimal()), reverse=True))


def begin(change: Change, lb_id: LoadBalancerId, adopted: Adopted | None = None) -> None:
    """Say that a change is under way, before anything is touched.

    Args:
        change: the amphora, locked.
        lb_id: what is to be changed.
        adopted: what a controller has there, which comes back if the change does not end.
    """
    paths = change.paths.document(lb_id)
    files.make_directory(paths.directory, DIRECTORY_MODE)
    if adopted is not None:
        files.write_atomic(paths.adopted, encode_adopted(adopted))
    files.create_durable(paths.unfinished)


def adopted(amphora: Amphora, lb_id: LoadBalancerId) -> Adopted | None:
    """Return what a controller had when the change under way began, None when it is not an adoption."""
    return decode_adopted(files.read_optional(amphora.paths.document(lb_id).adopted))


def is_unfinished(amphora: Amphora, lb_id: LoadBalancerId) -> bool:
    """Tell whether the last change did not end."""
    return files.exists(amphora.paths.document(lb_id).unfinished)


def end(change: Change, lb_id: LoadBalancerId) -> None:
    """Say that what was applied last is what serves, and drop what only somebody who takes it back would need."""
    paths, current = change.paths.document(lb_id), find(change, lb_id)
    files.remove_volatile(paths.unfinished)  # one that comes back after a power cut costs a look
    files.remove(paths.adopted)
    confirmed = current.revert.generation if current is not None and current.revert is not None else None
    for number in _numbers(change, lb_id)[REVISIONS:]:
        if number != confirmed:
            files.remove_volatile(paths.revision(number))


def commit(change: Change, lb_id: LoadBalancerId, stored: Stored, *, is_revision: bool) -> None:
    """Make a document the one that was applied last: from here on a crash brings it back, not the one before.

    Raises:
        HostFailure: the disk refused; the one before is still the last.
    """
    paths = change.paths.document(lb_id)
    data = encode_stored(stored)
    try:
        if is_revision:
            files.write_atomic_twice(paths.revision(stored.generation), paths.current, data)
        else:
            files.write_atomic(paths.current, data)
    finally:
        change.parsed.forget(paths.current)


def forget(change: Change, lb_id: LoadBalancerId) -> None:
    """Make the load balancer one that is not there: from here on a crash is followed by the rest of the deletion."""
    files.remove(change.paths.document(lb_id).adopted)
    files.remove(change.paths.document(lb_id).current)


def remove(change: Change, lb_id: LoadBalancerId) -> None:
    """Remove all that is remembered of a load balancer; what is left by a crash in between is nobody's any more."""
    files.remove(change.paths.document(lb_id).unfinished)
    files.remove(change.paths.document(lb_id).directory)
