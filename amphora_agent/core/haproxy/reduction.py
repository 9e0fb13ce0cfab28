"""A configuration cut down to what changed, whose verdict by HAProxy is that of the whole. Runs no HAProxy.

`haproxy -c` takes time that grows with the square of a backend's servers, a second for 10,000 of them, and nearly all
of it goes into servers that it accepted before. When only plain `server` lines differ from an accepted configuration,
a file of all other lines and of the new `server` lines alone tells whether HAProxy accepts the whole.

Decision: that holds because a plain line says nothing about another server, so that HAProxy can object to it, to its
place among the other lines, or to two servers of one name. The first two show in the cut-down file; the names are
compared here. Identifiers (`id`, `guid`) and references (`track`) are no plain words: a configuration that has one is
never cut down. A server that others refer to (`use-server`, `srv_is_up()`) and that did not change is missing in the
cut-down file, which HAProxy then refuses; a refusal is therefore no verdict, and only an acceptance counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from amphora_agent.core.haproxy.config import Config, Section, changed_lines
from amphora_agent.core.haproxy.grammar import SERVER_OPTIONS
from amphora_agent.core.haproxy.server_line import parse_server
from amphora_agent.core.haproxy.words import split_words

# Where a server stands: how many other lines precede it, since `default-server` lines count for those that follow.
_Placed = tuple[int, str]

_WORD = r"[A-Za-z0-9_.:/,@+=%!()*|~^-]+"
_FLAGS = "|".join(sorted(re.escape(option) for option, value in SERVER_OPTIONS.items() if not value))
_VALUED = "|".join(sorted(re.escape(option) for option, value in SERVER_OPTIONS.items() if value))
_PLAIN = re.compile(rf"[ \t]*server {_WORD} {_WORD}(?: (?:{_FLAGS})(?![^ \t])| (?:{_VALUED}) {_WORD})*[ \t]*\Z")
_SERVER = re.compile(r"[ \t]*server [!-~]")
_COOKIE = re.compile(r" cookie ([^ \t]+)")
# Makes a warning an error, and warnings are about more than one line.
_STRICT = "zero-warning"


def is_reducible(config: Config) -> bool:
    """Tell whether every `server` line of an accepted configuration is plain: it says nothing about other servers."""
    if any(_STRICT in line for section in config.sections if section.kind == "global" for line in section.lines):
        return False
    backends = (section for section in config.sections if section.kind == "backend")
    return all(_PLAIN.match(line) for section in backends for line in section.lines if _SERVER.match(line))


def reduce(accepted: Config, new: Config) -> Config | None:
    """Return what HAProxy has to accept for the whole new configuration to be acceptable; None when that is the whole.

    Args:
        accepted: a reducible configuration that HAProxy accepted, with the very files around it that are there now.
        new: what it is to accept.
    """
    if accepted.preamble != new.preamble or len(accepted.sections) != len(new.sections):
        return None
    sections = []
    for old, section in zip(accepted.sections, new.sections, strict=True):
        reduced = _reduce(old, section)
        if reduced is None:
            return None
        sections.append(reduced)
    return Config(new.preamble, tuple(sections))


def _reduce(old: Section, new: Section) -> Section | None:
    if (old.kind, old.name) != (new.kind, new.name):
        return None
    if old.kind != "backend":
        return new if old.lines == new.lines else None
    before, after = changed_lines(old, new)
    if _others(before) != _others(after):
        return None
    known = frozenset(_servers(before))
    changed = {placed for placed in _servers(after) if placed not in known}
    if not all(_is_understood(line) for _, line in changed) or not _are_unique([line for _, line in changed], new):
        return None
    if not changed:
        return Section(new.kind, new.name, _others(new.lines))
    first = _common(old.lines, new.lines)
    last = first + len(after)
    lines = (*_others(new.lines[:first]), *_without(after, changed), *_others(new.lines[last:]))
    return Section(new.kind, new.name, lines)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many lines are the same at the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _others(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the lines that are no `server` lines in their plain spelling; any other spelling is like all others."""
    return tuple(line for line in lines if not _SERVER.match(line))


def _servers(lines: Iterable[str]) -> Iterator[_Placed]:
    others = 0
    for line in lines:
        if _SERVER.match(line):
            yield others, line
        else:
            others += 1


def _without(lines: Iterable[str], changed: set[_Placed]) -> Iterator[str]:
    """Yield the lines, of the servers only the changed ones."""
    others = 0
    for line in lines:
        if not _SERVER.match(line):
            others += 1
            yield line
        elif (others, line) in changed:
            yield line


def _are_unique(changed: Sequence[str], section: Section) -> bool:
    """Tell whether no two servers of a section share a name, and none of the changed ones a cookie with another."""
    servers = [line for line in section.lines if _SERVER.match(line)]
    if len({line.split(None, 2)[1] for line in servers}) < len(servers):
        return False
    cookies = Counter(cookie for line in servers if " cookie " in line for cookie in _COOKIE.findall(line))
    return all(cookies[cookie] == 1 for line in changed for cookie in _COOKIE.findall(line))


def _is_understood(line: str) -> bool:
    """Tell whether a line has nothing but what a member has, all of it in range."""
    return _PLAIN.match(line) is not None and parse_server(split_words(line)) is not None
