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

from amphora_agent.core.haproxy.config import Config, Section, changed_lines, common_lines
from amphora_agent.core.haproxy.grammar import SERVER_OPTIONS
from amphora_agent.core.haproxy.server_line import is_server_line, other_lines, parse_server, server_lines
from amphora_agent.core.haproxy.words import split_words

# Where a server stands: how many other lines precede it, since `default-server` lines count for those that follow.
_Placed = tuple[int, str]

_WORD = r"[A-Za-z0-9_.:/,@+=%!()*|~^-]+"
_FLAGS = "|".join(sorted(re.escape(option) for option, value in SERVER_OPTIONS.items() if not value))
_VALUED = "|".join(sorted(re.escape(option) for option, value in SERVER_OPTIONS.items() if value))
_PLAIN = re.compile(rf"[ \t]*server {_WORD} {_WORD}(?: (?:{_FLAGS})(?![^ \t])| (?:{_VALUED}) {_WORD})*[ \t]*\Z")
# Of lines joined by line feeds, at least the names and cookies of all servers.
_NAME = re.compile(r"server (\S+)")
_COOKIE = re.compile(r" cookie (\S+)")
# Makes a warning an error, and warnings are about more than one line.
_STRICT = "zero-warning"


def is_reducible(config: Config) -> bool:
    """Tell whether every `server` line of an accepted configuration is plain: it says nothing about other servers."""
    if any(_STRICT in line for section in config.sections if section.kind == "global" for line in section.lines):
        return False
    backends = (section for section in config.sections if section.kind == "backend")
    return all(map(_PLAIN.match, (line for section in backends for line in server_lines(section.lines))))


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
    if old.lines == new.lines:
        return Section(new.kind, new.name, tuple(other_lines(new.lines)))
    before, after = changed_lines(old, new)
    if other_lines(before) != other_lines(after):
        return None
    known = frozenset(_servers(before))
    changed = {placed for placed in _servers(after) if placed not in known}
    if not all(_is_understood(line) for _, line in changed) or not _are_unique([line for _, line in changed], new):
        return None
    first, last = common_lines(old, new)
    head, tail = new.lines[:first], new.lines[len(new.lines) - last :]
    return Section(new.kind, new.name, (*other_lines(head), *_without(after, changed), *other_lines(tail)))


def _servers(lines: Iterable[str]) -> Iterator[_Placed]:
    others = 0
    for line in lines:
        if is_server_line(line):
            yield others, line
        else:
            others += 1


def _without(lines: Iterable[str], changed: set[_Placed]) -> Iterator[str]:
    """Yield the lines, of the servers only the changed ones."""
    others = 0
    for line in lines:
        if not is_server_line(line):
            others += 1
            yield line
        elif (others, line) in changed:
            yield line


def _are_unique(changed: Sequence[str], section: Section) -> bool:
    """Tell whether none of the changed servers shares its name or its cookie with another one of the section.

    The others HAProxy accepted side by side.
    """
    text = "\n".join(section.lines)
    return all(_occur_once(pattern, changed, text) for pattern in (_NAME, _COOKIE))


def _occur_once(pattern: re.Pattern[str], lines: Iterable[str], text: str) -> bool:
    wanted = pattern.findall("\n".join(lines))
    found = Counter(pattern.findall(text)) if wanted else Counter()
    return all(found[word] == 1 for word in wanted)


def _is_understood(line: str) -> bool:
    """Tell whether a line has nothing but what a member has, all of it in range."""
    return _PLAIN.match(line) is not None and parse_server(split_words(line)) is not None
