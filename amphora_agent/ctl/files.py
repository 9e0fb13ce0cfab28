"""Documents in files: YAML or JSON in, YAML or JSON out. Sends nothing; problems of a document are the caller's matter.

Decision: YAML is read by JSON's rules for plain words: `true`, `null`, numbers in decimal, and everything else is text.
YAML 1.1 would make a country's `NO` a false and `12:30` a number of seconds. A key that is there twice is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amphora_agent.ctl.failure import CommandFailure, Exit

if TYPE_CHECKING:
    import yaml

LARGEST = 16 * 1024 * 1024
# A few lines of aliases of aliases would stand for gigabytes.
_MOST_VALUES = 2_000_000
_STANDARD_INPUT = "-"
_WITHOUT_YAML = "PyYAML is not installed (the extra `ctl`): give JSON instead"
_NULL = "tag:yaml.org,2002:null"
_PLAIN_WORDS = (
    ("tag:yaml.org,2002:bool", re.compile(r"true|false"), "tf"),
    (_NULL, re.compile(r"null|~|"), "n~\0"),
    ("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)"), "-0123456789"),
    ("tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?"), "-0123456789"),
)


def read_bytes(name: str) -> bytes:
    """Return the content of a file, or of standard input for `-`.

    Raises:
        CommandFailure: it cannot be read, or is larger than any document may be.
    """
    try:
        data = sys.stdin.buffer.read(LARGEST + 1) if name == _STANDARD_INPUT else Path(name).read_bytes()
    except OSError as error:
        raise CommandFailure(Exit.USAGE, f"cannot read {name}: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise CommandFailure(Exit.USAGE, f"{name} is larger than {LARGEST} bytes")
    return data


def to_json(data: bytes, name: str) -> bytes:
    """Return a document as JSON; what is JSON already stays as it is.

    Raises:
        CommandFailure: it is neither JSON nor YAML; says where.
    """
    if data.lstrip()[:1] in (b"{", b"["):
        return data
    return json.dumps(_from_yaml(data, name)).encode()


def to_tree(data: bytes, name: str) -> dict[str, object]:
    """Return a document as the object it is.

    Raises:
        CommandFailure: it is none.
    """
    try:
        tree = json.loads(to_json(data, name))
    except (ValueError, RecursionError) as error:
        raise CommandFailure(Exit.REFUSED, f"{name} is no JSON: {error}") from error
    if not isinstance(tree, dict):
        raise CommandFailure(Exit.REFUSED, f"{name} holds no load balancer, which is an object")
    return tree


def dump(value: object, kind: str | None) -> str:
    """Return a value as text.

    Args:
        value: as JSON had it.
        kind: yaml or json; None for YAML where it can be written.

    Raises:
        CommandFailure: YAML was asked for and cannot be written.
    """
    if kind == "json" or (kind is None and not has_yaml()):
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return str(_import_yaml().dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120))


def has_yaml() -> bool:
    """Tell whether YAML can be read and written here."""
    try:
        import yaml  # noqa: F401, PLC0415 - only where a document is at hand
    except ImportError:
        return False
    return True


def _from_yaml(data: bytes, name: str) -> object:
    yaml = _import_yaml()
    try:
        value: object = yaml.load(data, _loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CommandFailure(Exit.REFUSED, f"{name}{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise CommandFailure(Exit.REFUSED, f"{name} is no YAML: {reason}") from error
    _refuse_bombs(value, name)
    return value


def _refuse_bombs(value: object, name: str) -> None:
    """Refuse what is too large once its aliases are written out, or has no end.

    Raises:
        CommandFailure: it is.
    """
    waiting, count = [value], 0
    while waiting:
        found = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise CommandFailure(Exit.REFUSED, f"{name} stands for more than {_MOST_VALUES} values")
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _import_yaml() -> Any:  # noqa: ANN401 - a module
    try:
        import yaml  # noqa: PLC0415 - commands without a document need not wait for it
    except ImportError as error:
        raise CommandFailure(Exit.USAGE, _WITHOUT_YAML) from error
    return yaml


def _loader() -> type[yaml.SafeLoader]:
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):
        """Reads plain words as JSON does, and no key twice."""

        yaml_implicit_resolvers = _resolvers()

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            seen: set[str] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(problem="a key is no text", problem_mark=key.start_mark)
                if key.value in seen:
                    problem = f"the key {key.value!r} is there twice"
                    raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


def _dumper() -> type[yaml.SafeDumper]:
    """Return a dumper that quotes what YAML 1.1 would misread: its own words stay in force there."""
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        """Writes no anchors."""

        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    def quoted_where_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        """Return a text, quoted when we would read it as a number, or a line break of Unicode in it as a blank."""
        is_plain = text.isprintable() and not any(pattern.fullmatch(text) for _, pattern, _ in _PLAIN_WORDS)
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')

    Dumper.add_representer(str, quoted_where_needed)
    return Dumper


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, starts in _PLAIN_WORDS:
        for start in starts:
            found.setdefault(start.strip("\0"), []).append((tag, re.compile(rf"(?:{pattern.pattern})\Z")))
    found["<"] = [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))]
    return found
