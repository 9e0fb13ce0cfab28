"""From bytes to a `Document`, or to every problem of its shape. Pure; whether references hold is `checks`' matter.

Fields that a cloud reports of its own objects (ids, projects, statuses) are passed over and listed, so that a pasted
load balancer can be applied; a reference by id that says something is an error, for ids name nothing here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from types import UnionType
from typing import TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import FieldInfo

from amphora_agent.core.document import model
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.problem import Path, Problem, pointer, problem, shown

Wanted = TypeVar("Wanted", bound=Struct)

ValueT = TypeVar("ValueT")

MAX_PROBLEMS = 1000
_DOCUMENT = Decoder(Document)
_DEEPEST = 32

_EVERYWHERE = frozenset(
    {
        "id",
        "project_id",
        "tenant_id",
        "provisioning_status",
        "operating_status",
        "created_at",
        "updated_at",
        "tags",
    }
)
_IGNORED: dict[type[Struct], frozenset[str]] = {
    model.Document: frozenset(
        {
            "additional_vips",
            "availability_zone",
            "flavor_id",
            "provider",
            "vip_address",
            "vip_network_id",
            "vip_port_id",
            "vip_qos_policy_id",
            "vip_sg_ids",
            "vip_subnet_id",
            "vip_vnic_type",
        }
    ),
    model.Vip: frozenset({"network_id", "port_id", "subnet_id"}),
    model.Listener: frozenset({"load_balancer_id", "loadbalancer_id", "loadbalancers"}),
    model.Pool: frozenset({"healthmonitor_id", "listeners", "loadbalancer_id", "loadbalancers"}),
    model.Member: frozenset({"subnet_id", "vnic_type"}),
    model.HealthMonitor: frozenset({"pool_id", "pools"}),
    model.L7Policy: frozenset({"listener_id"}),
}
# Ids that name another object: said to be nothing they are passed over, else they would be lost.
_REFERENCES = {"default_pool_id": "default_pool", "redirect_pool_id": "redirect_pool"}
_PLACE = re.compile(r" - at `\$?([^`]*)`\Z")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What may stand in an object of a type: its fields, of them those that hold objects, and what is passed over."""

    fields: Mapping[str, FieldInfo]
    children: Mapping[str, _Shape]
    dropped: frozenset[str]


def _shape(kind: type[Struct]) -> _Shape:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    objects = {name: child for name, field in fields.items() if (child := _struct_of(field.type)) is not None}
    dropped = _EVERYWHERE - fields.keys() | _IGNORED.get(kind, frozenset())
    return _Shape(fields, {name: _shape(child) for name, child in objects.items()}, dropped)


def _struct_of(hint: object) -> type[Struct] | None:
    """Return the object type that a field holds, alone, in a tuple or optionally."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint
    return next((found for each in get_args(hint) if (found := _struct_of(each)) is not None), None)


_DOCUMENT_SHAPE = _shape(Document)


@dataclass(frozen=True, slots=True)
class Reading:
    """A document of the right shape, and the JSON pointers of the fields that were passed over."""

    document: Document
    ignored: tuple[str, ...]


class _Pairs(dict[str, object]):
    """An object of JSON that remembers which of its keys came twice."""

    __slots__ = ("duplicates",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(self) < len(pairs) else Counter[str]()
        self.duplicates = tuple(key for key, count in counts.items() if count > 1)


def read(body: bytes) -> Reading | tuple[Problem, ...]:
    """Return the document of a body of any bytes, or its problems in the document's order, at most MAX_PROBLEMS."""
    found = read_faultless(body, _DOCUMENT)
    if found is not None:
        return Reading(found, ())
    tree = parse_json(body)
    return (tree,) if isinstance(tree, Problem) else read_tree(tree)


def read_faultless(body: bytes, decoder: Decoder[ValueT]) -> ValueT | None:
    """Return what a body says when there is nothing wrong with it and nothing to pass over, else None.

    In half the time of the way that finds out what is wrong.
    """
    try:
        found = decoder.decode(body)
        json.loads(body, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError):
        return None
    return found


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")


def parse_json(body: bytes) -> object:
    """Return a body's JSON value, whose objects know which keys came twice, or the `Problem` that it is none."""
    try:
        msgspec.json.decode(body)  # refuses what `json` lets through: lone surrogates, NaN, bytes that are no UTF-8
        return json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        return Problem(pointer="", where="the document", detail=f"this is no JSON: {error}", expected="JSON")


def read_tree(tree: object) -> Reading | tuple[Problem, ...]:
    """Return the document that an already parsed JSON value says, or its problems."""
    ignored: list[str] = []
    kept = _without_ignored(tree, _DOCUMENT_SHAPE, (), ignored)
    found = _read_as(Document, tree, kept)
    return Reading(found, tuple(ignored)) if isinstance(found, Document) else found


def read_object(kind: type[Wanted], body: bytes) -> Wanted | tuple[Problem, ...]:
    """Return the object of a body of any bytes, or its problems; no field is passed over."""
    tree = parse_json(body)
    return (tree,) if isinstance(tree, Problem) else _read_as(kind, tree, tree)


def _read_as(kind: type[Wanted], tree: object, kept: object) -> Wanted | tuple[Problem, ...]:
    """Return the object of a JSON value, or its problems; `kept` is the value without what is passed over."""
    if not isinstance(tree, dict):
        return (problem(tree, (), f"got {shown(tree)}", "an object"),)
    problems = list(_duplicates(tree, tree, ()))
    if not problems:
        try:
            return msgspec.convert(kept, kind)
        except msgspec.ValidationError as error:
            first = problem(kept, (), str(error))
            return tuple(islice(_shape_problems(kept, kept, _shape(kind), ()), MAX_PROBLEMS)) or (first,)
    problems += _shape_problems(kept, kept, _shape(kind), ())
    return tuple(problems[:MAX_PROBLEMS])


def _duplicates(root: object, value: object, path: Path) -> Iterator[Problem]:
    if len(path) > _DEEPEST:
        return
    if isinstance(value, dict):
        for key in getattr(value, "duplicates", ()):
            yield problem(root, (*path, key), f"the key {shown(key)} is there twice", "each key once")
        for key, child in value.items():
            if isinstance(child, (dict, list)):
                yield from _duplicates(root, child, (*path, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _duplicates(root, child, (*path, number))


def _without_ignored(value: object, shape: _Shape, path: Path, ignored: list[str]) -> object:
    """Return an object without the fields that are passed over, and those in it; adds their pointers to `ignored`."""
    if not isinstance(value, dict):
        return value
    kept: dict[str, object] = {}
    for key, child in value.items():
        within = shape.children.get(key)
        if key in shape.dropped or (key in _REFERENCES and child is None):
            ignored.append(pointer((*path, key)))
        elif within is not None and isinstance(child, list):
            kept[key] = [
                _without_ignored(each, within, (*path, key, number), ignored) for number, each in enumerate(child)
            ]
        elif within is not None:
            kept[key] = _without_ignored(child, within, (*path, key), ignored)
        else:
            kept[key] = child
    return kept


def _shape_problems(root: object, value: object, shape: _Shape, path: Path) -> Iterator[Problem]:
    """Yield every problem of an object's shape; msgspec alone would stop at the first."""
    if not isinstance(value, dict):
        yield problem(root, path, f"got {shown(value)}", "an object")
        return
    fields = shape.fields
    for key, child in value.items():
        if key not in fields:
            yield problem(root, (*path, key), f"there is no field {shown(key)}", _hint(key, fields))
            continue
        of_objects = shape.children.get(key)
        if of_objects is not None and isinstance(child, list) and _is_list(fields[key].type):
            for number, each in enumerate(child):
                yield from _shape_problems(root, each, of_objects, (*path, key, number))
            yield from _length_problem(root, child, fields[key].type, (*path, key))
        elif of_objects is not None and isinstance(child, dict) and not _is_list(fields[key].type):
            yield from _shape_problems(root, child, of_objects, (*path, key))
        else:
            yield from _value_problem(root, child, fields[key].type, (*path, key))
    for name, field in fields.items():
        if field.required and name not in value:
            yield problem(root, path, f"the field {name!r} is missing", f"{name!r}")


def _hint(key: str, fields: Iterable[str]) -> str:
    reference = _REFERENCES.get(key)
    if reference is not None:
        return f"{reference!r} with the name of a pool"
    close = difflib.get_close_matches(key, fields, n=1)
    return f"{close[0]!r}" if close else "one of " + ", ".join(sorted(fields))


def _value_problem(root: object, value: object, kind: object, path: Path) -> Iterator[Problem]:
    """Yield what msgspec says of one value without objects in it."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        inner = tuple(int(number) for number in re.findall(r"\[(\d+)\]", place[1])) if place else ()
        for step in inner:
            value = value[step] if isinstance(value, list) and step < len(value) else value
        expected = _PLACE.sub("", str(error)).removeprefix("Expected ").replace("`", "").partition(", got ")[0]
        yield problem(root, (*path, *inner), f"got {shown(value)}", _in_words(expected, kind))


def _in_words(expected: str, kind: object) -> str:
    """Return what would be right for people: the values of an enumeration, the meaning of a pattern."""
    choices = _choices(kind)
    if choices:
        return "one of " + ", ".join(choices)
    if "matching regex" in expected:
        return next((meta.description for meta in _metas(kind) if meta.description), expected)
    words = {"int": "an integer", "str": "text", "bool": "true or false", "array": "a list", "float": "a number"}
    return re.sub(r"\b(int|str|bool|array|float)\b", lambda word: words[word[0]], expected).replace(" |", " or")


def _choices(kind: object) -> tuple[str, ...]:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(kind)
    return next((found for each in get_args(kind) if (found := _choices(each))), ())


def _metas(kind: object) -> Iterator[msgspec.Meta]:
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta):
            yield meta
    for each in get_args(kind):
        if each is not kind and not isinstance(each, msgspec.Meta):
            yield from _metas(each)


def _length_problem(root: object, value: list[object], kind: object, path: Path) -> Iterator[Problem]:
    for meta in _metas(kind):
        if meta.max_length is not None and len(value) > meta.max_length:
            yield problem(root, path, f"got {len(value)} entries", f"at most {meta.max_length}")
        if meta.min_length is not None and len(value) < meta.min_length:
            yield problem(root, path, f"got {len(value)} entries", f"at least {meta.min_length}")
        return


def _is_list(hint: object) -> bool:
    if get_origin(hint) in {Union, UnionType}:
        return any(_is_list(each) for each in get_args(hint))
    return get_origin(hint) is tuple or any(_is_list(each) for each in get_args(hint)[:1])


def encode(document: Document) -> bytes:
    """Return the canonical JSON: equal documents give equal bytes; reading them gives the document."""
    return msgspec.json.encode(document, order="deterministic")
