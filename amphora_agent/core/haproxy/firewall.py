"""The configuration firewall: which lines of an upload may reach HAProxy. Decides by the grammar, reads no file.

A tenant's value has become a line, or words of a line, more than once in the controller's history. Each such line
would be a directive of the tenant's choice: a script, a socket, a program, a file of the machine. The rule:

* known to the grammar: let through;
* harmless, it only shapes traffic in words that name nothing outside (a new `option`, a new timeout): a warning;
* unknown, in plain words that cannot name a file, a socket, an address or a script: refused, in mode `warn` a warning;
* reaches outside, or cannot be told: refused in every mode but `off`.

Lines that the operator allows are let through whatever they say. Mode `off` judges nothing.

Decision: sections are found as HAProxy finds them, at any indentation, and a word in column 0 that starts none is a
line of the section before it. The model (`config`) sees such a word as a section of its own, which is the careful
way round for the planner and would hide a line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from amphora_agent.core.haproxy.config import SECTIONS
from amphora_agent.core.haproxy.grammar import Address, Belongings, Standing, Verdict, judge_line, split_address
from amphora_agent.core.haproxy.words import Words, split_words, trouble, unquote
from amphora_agent.core.settings import FirewallMode

_EXPORTER = {
    ("frontend", "prometheus-exporter-internal-endpoint"): "exporter-frontend",
    ("backend", "prometheus-exporter-internal"): "exporter-backend",
}
_NAMED = frozenset({"frontend", "backend", "peers"})
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,256}\Z")
# A member's line up to its options; of 10,000 members, few have options that were not judged before.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_PORT = r"(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_MEMBER = re.compile(
    rf"    server (?!c[ar][-a-z]* )[A-Za-z0-9_.:-]{{1,64}} (?:{_OCTET}(?:\.{_OCTET}){{3}}:{_PORT}"
    r"|([0-9a-f]{0,4}:[0-9a-f:.]{2,60}))( [ -~]*)?\Z"
)
_REMEMBERED = 4096
MAX_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line that is not known: its number from 1, the word it is for, and how it stands. Says itself."""

    number: int
    word: str
    standing: Standing
    why: str

    def __str__(self) -> str:
        return f"line {self.number}, {self.word[:MAX_SHOWN]!r}: {self.why}"


@dataclass(frozen=True, slots=True)
class KnownMembers:
    """Lines that are members' in any backend, and were judged as known, for a load balancer with these belongings."""

    own: Belongings
    lines: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Review:
    """What was found in a configuration, in order; nothing `refused` means that HAProxy may see it.

    `members`: what the next review need not judge again.
    """

    refused: tuple[Finding, ...]
    warned: tuple[Finding, ...]
    members: KnownMembers


@dataclass(frozen=True, slots=True)
class Allowance:
    """A line that the operator allows: `*` stands for the rest of a word, a last `...` for the rest of the line.

    Blanks between words do not count. A wildcard never spans words, so that a value cannot bring words of its own.
    """

    words: Words

    def allows(self, words: Words) -> bool:
        """Tell whether a line, in words as written, is allowed."""
        wanted = self.words
        if wanted[-1] == "...":
            wanted = wanted[:-1]
            words = words[: len(wanted)]
        return len(words) == len(wanted) and all(map(_fits, wanted, words))


def parse_allowance(text: str) -> Allowance | None:
    """Return one line of `configuration_allow`, None where it says too little: its first word must have no wildcard."""
    words = split_words(text)
    if not words or trouble(text) is not None or "*" in words[0] or words[0] == "...":
        return None
    return Allowance(words)


def review(
    lines: Sequence[str],
    mode: FirewallMode,
    own: Belongings,
    allowed: Iterable[Allowance] = (),
    before: KnownMembers | None = None,
) -> Review:
    """Return what a configuration holds beside what controllers write; nothing in mode `off`.

    Args:
        lines: the configuration as it was received, split at its line feeds.
        mode: the operator's wish.
        own: what the configuration may name.
        allowed: lines that are let through.
        before: of an earlier review; changes what it takes, never what is found.
    """
    members = before if before is not None and before.own == own else KnownMembers(own)
    match mode:
        case FirewallMode.OFF:
            return Review((), (), members)
        case FirewallMode.WARN:
            refused_from = Standing.OUTSIDE
        case FirewallMode.ENFORCE:
            refused_from = Standing.UNKNOWN
        case _:
            assert_never(mode)
    walk = _Lines(own, tuple(allowed), {}, [], set())
    judged: set[str] = set()
    found = tuple(_findings(lines, walk, members.lines, judged))
    if judged:
        members = KnownMembers(own, members.lines.intersection(lines) | judged)
    return Review(
        tuple(finding for finding in found if finding.standing >= refused_from),
        tuple(finding for finding in found if finding.standing < refused_from),
        members,
    )


def _findings(lines: Sequence[str], walk: _Lines, members: frozenset[str], judged: set[str]) -> Iterator[Finding]:
    """Yield what is to be said of the lines; adds to `judged` what is a known member's and not among the known ones."""
    for number, line in enumerate(lines, start=1):
        if line in members and walk.kind == "backend":
            continue
        if walk.is_judged_member(line):
            judged.add(line)
            continue
        finding = walk.judge(number, line)
        if finding is not None:
            yield finding
    yield from walk.strangers()


@dataclass(slots=True)
class _Lines:
    """The walk through one text: `kind` is the section's, `""` before the first and in one that is not known."""

    own: Belongings
    allowed: tuple[Allowance, ...]
    members: dict[str, bool]
    binds: list[tuple[str, int, str, tuple[Address, int]]]
    once: set[Words]
    kind: str = ""
    name: str = ""

    def is_judged_member(self, line: str) -> bool:
        """Tell whether a line is a known member's; judges each set of options once."""
        found = _MEMBER.match(line) if self.kind == "backend" else None
        if found is None or (found[1] is not None and split_address(found[1]) is None):
            return False
        options = found[2] or ""
        known = self.members.get(options)
        if known is None:
            words = ("server", "member", "192.0.2.1:80", *split_words(options))
            is_bare = not any(sign in options for sign in "#\\\"'")
            known = is_bare and judge_line("backend", words, self.own).standing is Standing.KNOWN
            if len(self.members) < _REMEMBERED:
                self.members[options] = known
        return known

    def judge(self, number: int, line: str) -> Finding | None:
        """Return what is to be said of a line, None for one that is known, allowed or empty."""
        odd = trouble(line)
        if odd is not None:
            # Also in what seems to be a comment: HAProxy may see another end of it.
            return _outside(number, line.strip()[:MAX_SHOWN], str(odd))
        raw = split_words(line)
        words = tuple(unquote(word) for word in raw)
        if words and words[0] in SECTIONS:
            return self._enter(number, words, raw)
        if not words or any(allowance.allows(raw) for allowance in self.allowed):
            return None
        return self._in_section(number, words, raw)

    def _enter(self, number: int, words: Words, raw: Words) -> Finding | None:
        kind, name = words[0], " ".join(words[1:])
        self.name = f"{kind} {name}".strip()
        is_named = len(words) == 2 and _NAME.match(name) is not None
        self.kind = ""
        if raw[0] == kind and ((kind in _NAMED and is_named) or (kind in ("global", "defaults") and not name)):
            self.kind = _EXPORTER.get((kind, name), kind)
            return None
        if any(allowance.allows(raw) for allowance in self.allowed):
            self.kind = kind if kind in (*_NAMED, "global", "defaults") else ""
            return None
        return _outside(number, kind, "no controller writes such a section")

    def _in_section(self, number: int, words: Words, raw: Words) -> Finding | None:
        if raw[0] != words[0]:
            return _outside(number, raw[0], "a directive in disguise")
        if not self.kind:
            return _outside(number, words[0], f"stands in {self.name or 'no section'}, which no controller writes")
        verdict = judge_line(self.kind, words, self.own)
        if words[:2] == ("stats", "socket") and verdict.standing is Standing.KNOWN:
            if words in self.once:
                verdict = Verdict(Standing.OUTSIDE, 1)
            self.once.add(words)
        if words[0] == "bind" and self.kind == "frontend" and verdict.standing <= Standing.HARMLESS:
            place = split_address(words[1])
            if place is not None:
                self.binds.append((self.name, number, words[1], place))
        if verdict.standing is Standing.KNOWN:
            return None
        word = words[min(verdict.position, len(words) - 1)]
        return Finding(number=number, word=word, standing=verdict.standing, why=_WHY[verdict.standing])

    def strangers(self) -> Iterator[Finding]:
        """Yield the bind lines that are unlike the others: every listener has all VIPs, and one port."""
        addresses: dict[str, set[Address]] = {}
        ports: dict[str, int] = {}
        for frontend, _, _, (address, port) in self.binds:
            if port == ports.setdefault(frontend, port):
                addresses.setdefault(frontend, set()).add(address)
        shared = set.intersection(*addresses.values()) if addresses else set()
        for frontend, number, where, (address, port) in self.binds:
            if address not in shared:
                yield _outside(number, where, "not an address of every listener")
            elif port != ports[frontend]:
                yield Finding(number=number, word=where, standing=Standing.HARMLESS, why="a second port of a listener")


_WHY = {
    Standing.KNOWN: "known",
    Standing.HARMLESS: "no controller known to this agent writes it",
    Standing.UNKNOWN: "no controller known to this agent writes it, and it is not known to be harmless",
    Standing.OUTSIDE: "reaches outside the load balancer, or may do so",
}


def _outside(number: int, word: str, why: str) -> Finding:
    return Finding(number=number, word=word, standing=Standing.OUTSIDE, why=why)


def _fits(wanted: str, word: str) -> bool:
    """Tell whether a word is like a pattern with `*`; takes time linear in the word for each part between stars."""
    first, *others = wanted.split("*")
    if not others:
        return word == wanted
    if len(word) < len(wanted) - len(others) or not word.startswith(first) or not word.endswith(others[-1]):
        return False
    at, end = len(first), len(word) - len(others[-1])
    for part in others[:-1]:
        at = word.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
