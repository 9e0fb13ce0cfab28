"""Changes of a part of a document: the members of a pool. Pure; what comes out is checked as any document is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from msgspec.json import Decoder

from amphora_agent.core.document.model import Document, Member, Members, Pool
from amphora_agent.core.document.problem import Problem, problem, shown
from amphora_agent.core.document.reading import Reading, parse_json, read_faultless, read_tree

_MEMBERS = Decoder(Members)


def pool_of(document: Document, name: str) -> Pool | None:
    """Return the pool of this name, None when there is none."""
    return next((pool for pool in document.pools if pool.name == name), None)


def member_of(document: Document, pool: str, name: str) -> Member | None:
    """Return a member by the names of its pool and itself, None when there is none."""
    found = pool_of(document, pool)
    return None if found is None else next((member for member in found.members if member.name == name), None)


def with_members(document: Document, pool: Pool, members: Sequence[Member]) -> Document:
    """Return the document with other members in one of its pools."""
    changed = msgspec.structs.replace(pool, members=tuple(members))
    return msgspec.structs.replace(document, pools=tuple(changed if each is pool else each for each in document.pools))


def read_members(document: Document, pool: Pool, body: bytes) -> Reading | tuple[Problem, ...]:
    """Return the document with the members that a body lists, or the problems of its shape, placed in the document."""
    found = read_faultless(body, _MEMBERS)
    if found is not None:
        return Reading(with_members(document, pool, found), ())
    tree = parse_json(body)
    return (tree,) if isinstance(tree, Problem) else _read(document, pool, tree)


def read_member(document: Document, pool: Pool, name: str, body: bytes) -> Reading | tuple[Problem, ...]:
    """Return the document with one member of a pool added or replaced; the body may leave its name out."""
    tree = parse_json(body)
    if isinstance(tree, Problem):
        return (tree,)
    named = {"name": name, **tree} if isinstance(tree, dict) else tree
    if isinstance(named, dict) and named["name"] != name:
        return (problem(named, ("name",), f"got {shown(named['name'])}", f"{shown(name)}, as in the path"),)
    places = [number for number, member in enumerate(pool.members) if member.name == name]
    place = places[0] if places else len(pool.members)
    read = _read(document, pool, [named], place)
    if not isinstance(read, Reading):
        return read
    (member,) = next(each for each in read.document.pools if each.name == pool.name).members
    members = (*pool.members[:place], member, *pool.members[place + 1 :])
    return Reading(with_members(document, pool, members), read.ignored)


def _read(document: Document, pool: Pool, tree: object, first: int = 0) -> Reading | tuple[Problem, ...]:
    """Read members as those of a document that has this pool alone; `first` is the place of the first one.

    Decision: 10,000 members of other pools need not be read again to change one, and the reader of whole documents is
    the only one there is.
    """
    emptied = msgspec.structs.replace(pool, members=())
    alone = {
        "name": document.name,
        "vips": msgspec.to_builtins(document.vips),
        "pools": [{**msgspec.to_builtins(emptied), "members": tree}],
    }
    read = read_tree(alone)
    place = f"/pools/{document.pools.index(pool)}"
    if isinstance(read, Reading):
        (found,) = read.document.pools
        ignored = tuple(_moved(each, place, first) for each in read.ignored)
        return Reading(with_members(document, pool, found.members), ignored)
    return tuple(replace(each, pointer=_moved(each.pointer, place, first)) for each in read)


def _moved(pointer: str, place: str, first: int) -> str:
    """Return a pointer into the document of one pool as one into the whole document."""
    rest = pointer.removeprefix("/pools/0")
    head, slash, tail = rest.removeprefix("/members/").partition("/")
    if first and rest.startswith("/members/") and head.isdigit():
        rest = f"/members/{int(head) + first}{slash}{tail}"
    return place + rest
