"""From two configurations and their files to the steps that make a running HAProxy go from one to the other.

Pure. Gives the steps as values, or an obstacle: the first difference that only a reload can make.

Decision: everything is a reload unless a rule below says otherwise, and each rule names what was tried on which
HAProxy. Certificates are replaced under the name they were loaded by: the controller names files by their content, so
a renewed one has a new name, but HAProxy can only exchange the content of a loaded name. The plan says which file now
stands behind which loaded name (`aliases`); a reload makes the names equal again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from amphora_agent.core.haproxy.config import (
    Config,
    Section,
    changed_lines,
    common_lines,
    lines_with_files,
    section_words,
    significant_lines,
)
from amphora_agent.core.haproxy.grammar import first_words
from amphora_agent.core.haproxy.server_line import (
    SAFE_WORD,
    Server,
    is_server_line,
    other_lines,
    parse_server,
    server_lines,
    server_names,
)
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    FileKind,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.haproxy.words import Words, split_words, unquote
from amphora_agent.core.records.applied_config import Commits

MAX_COMMANDS = 1000
ROUNDROBIN_MAX = 4095
# What the controller's releases write in a backend; anything else might refer to a server or change what one inherits.
_KNOWN_DIRECTIVES = first_words("backend") - {"external-check"}

# HAProxy spreads requests over these by weight alone: servers may come and go, and the order of lines says nothing.
ORDERLESS_ALGORITHMS = frozenset({"roundrobin", "leastconn"})
_FIRST_VERSION = Version(2, 6)
_COOKIE_VERSION = Version(3, 0)
# Elsewhere `del server` can free a server that a stream still points to (haproxy issues 2298 and 2323, fixed in 2.8.4),
# or a client's own HTTP/2 connection to it (fixed in March 2024). Such versions delete only long after MAINT, so they
# cannot replace a server at once.
SAFE_REMOVAL_VERSIONS = ((Version(2, 8, 10), Version(2, 9)), (Version(3, 0), Version(1000, 0)))
# Enabling and disabling an added server under leastconn loops until the watchdog aborts (haproxy issue 3360): from
# 3.2.6 on, mended in 3.2.19 ("Only requeue servers if they are up" in its changelog; 3.2.26 was tried). Which 3.3 has
# the fix is not known.
_LEASTCONN_ABORTS = ((Version(3, 2, 6), Version(3, 2, 19)), (Version(3, 3), Version(3, 4)))
_KINDS = {"crt": FileKind.CERTIFICATE, "ca-file": FileKind.CA, "crl-file": FileKind.CRL}
_COST: dict[type[RuntimeStep], int] = {
    AddServer: 3,
    ReplaceServer: 5,
    ReplaceFile: 2,
    AddCertificate: 4,
    RemoveCertificate: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of the comparison.

    `digests`: path -> SHA-256 of every file named; `crt_lists`: path -> text of those that are crt-lists.
    """

    config: Config
    digests: Mapping[str, str]
    crt_lists: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps in order, and what holds afterwards: path -> loaded name where they differ, and what was replaced."""

    steps: tuple[RuntimeStep, ...]
    aliases: Mapping[str, str]
    commits: frozenset[Commits]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why it takes a reload."""

    reason: str


class _Obstructed(Exception):
    """Ends the planning; never leaves this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What stays the same throughout one planning.

    `aliases` and `commits` are the running process's; `starts_down` is the operator's wish for new members.
    """

    old: Side
    new: Side
    aliases: Mapping[str, str]
    commits: frozenset[Commits]
    version: Version
    starts_down: bool = False

    def plan(self) -> Plan | Obstacle:
        """Return the steps, or the first obstacle. The sections are the same ones in the same order."""
        if self.version < _FIRST_VERSION:
            return Obstacle(f"HAProxy {self.version} cannot change servers at run time")
        try:
            renames = self._renames()
            servers = tuple(self._server_steps(renames))
            certificates = tuple(self._crt_list_steps(renames))
            files = tuple(self._file_steps(renames, certificates))
        except _Obstructed as obstacle:
            return Obstacle(str(obstacle))
        removals = tuple(step for step in certificates if isinstance(step, RemoveCertificate))
        additions = tuple(step for step in certificates if isinstance(step, AddCertificate))
        return self._assemble((*files, *additions, *servers, *removals), renames)

    def _assemble(self, steps: tuple[RuntimeStep, ...], renames: Mapping[str, str]) -> Plan | Obstacle:
        cost = sum(_COST.get(type(step), 1) for step in steps)
        if cost > MAX_COMMANDS:
            return Obstacle(f"{cost} commands are too many")
        commits = self.commits | {commit for step in steps if (commit := _commit_of(step)) is not None}
        if len(commits) > 1:
            return Obstacle("HAProxy crashes when certificates and authorities are both replaced in one process")
        aliases = {}
        for path in self.new.digests:
            loaded = self._loaded(renames.get(path, path))
            if loaded != path:
                aliases[path] = loaded
        return Plan(steps=steps, aliases=aliases, commits=commits)

    def _loaded(self, old_path: str) -> str:
        return self.aliases.get(old_path, old_path)

    def _renames(self) -> dict[str, str]:
        """Return new path -> old path of files that took another's place everywhere.

        Raises:
            _Obstructed: one took another's place here but not there.
        """
        pairs: set[tuple[str, str]] = set()
        for was, now in self._changed_sections():
            pairs.update(_renamed_in_section(was, now))
        for path in self._changed_lists():
            before, after = self._entries(path)
            pairs.update(_renamed_in_list(before, after))
        renames = dict(pairs)
        if len(renames) < len(pairs) or len(set(renames.values())) < len(pairs):
            raise _Obstructed("files took each other's place")
        for new, old in renames.items():
            if new in self.old.digests or old in self.new.digests:
                raise _Obstructed(f"{_short(new)} took the place of {_short(old)} only in part")
        return renames

    def _changed_sections(self) -> Iterator[tuple[Section, Section]]:
        for was, now in zip(self.old.config.sections, self.new.config.sections, strict=True):
            if was.lines != now.lines:
                yield was, now

    def _changed_lists(self) -> Iterator[str]:
        for path in sorted(self.old.crt_lists.keys() & self.new.crt_lists.keys()):
            if self.old.crt_lists[path] != self.new.crt_lists[path]:
                yield path

    def _entries(self, path: str) -> tuple[Words, Words]:
        """Return the certificates of a crt-list before and after.

        Raises:
            _Obstructed: a line has options or filters, or a certificate stands there twice.
        """
        sides = []
        for text in (self.old.crt_lists[path], self.new.crt_lists[path]):
            lines = [words for line in text.split("\n") if (words := split_words(line))]
            names = tuple(unquote(words[0]) for words in lines)
            if any(len(words) > 1 for words in lines) or len(set(names)) < len(names) or not names:
                raise _Obstructed(f"{_short(path)} changed")
            sides.append(names)
        return sides[0], sides[1]

    def _server_steps(self, renames: Mapping[str, str]) -> Iterator[RuntimeStep]:
        if significant_lines(self.old.config.preamble) != significant_lines(self.new.config.preamble):
            raise _Obstructed("lines before the first section changed")
        for was, now in self._changed_sections():
            before, after = (significant_lines(lines) for lines in changed_lines(was, now))
            after = [_with_names(words, renames) for words in after]
            if before == after:
                continue
            if now.kind != "backend" or _frame(before) != _frame(after):
                raise _Obstructed(_changed(now))
            yield from self._backend_steps(was, now, renames)

    def _backend_steps(self, was: Section, now: Section, renames: Mapping[str, str]) -> Iterator[RuntimeStep]:
        first, last = common_lines(was, now)
        before, after = changed_lines(was, now)
        same = _servers(now, (*now.lines[:first], *now.lines[len(now.lines) - last :]))
        old, new = _servers(was, before), _servers(now, after)
        if same.keys() & (old.keys() | new.keys()):
            raise _names_obstruct(now)
        backend = _Backend(
            name=now.name,
            lines=now.lines,
            frame=significant_lines(other_lines(now.lines)),
            same=same,
            old=old,
            new=new,
            renames=renames,
            version=self.version,
            inherits=self._inherits(),
        )
        for step in backend.steps(starts_down=self.starts_down):
            if isinstance(step, (AddServer, ReplaceServer)):
                yield replace(step, server=self._with_loaded_files(step.server))
            else:
                yield step

    def _inherits(self) -> bool:
        """Tell whether a `defaults` section gives servers or checks something that added servers would not get."""
        sections = (section for section in self.new.config.sections if section.kind == "defaults")
        return any(
            words[0] in {"default-server", "external-check"} or words[:2] == ("option", "external-check")
            for section in sections
            for words in section_words(section)
        )

    def _with_loaded_files(self, server: Server) -> Server:
        """Return the server with the names its files are loaded by.

        Raises:
            _Obstructed: one is not loaded, and HAProxy loads none for a server added at run time.
        """
        options = list(server.options)
        for position, (option, value) in enumerate(pairwise(server.options)):
            if option in _KINDS:
                if value not in self.old.digests:
                    raise _Obstructed(f"{_short(value)} is not loaded yet")
                options[position + 1] = self._loaded(value)
        return replace(server, options=tuple(options))

    def _crt_list_steps(self, renames: Mapping[str, str]) -> Iterator[AddCertificate | RemoveCertificate]:
        is_new: set[str] = set()
        for path in self._changed_lists():
            before, after = self._entries(path)
            after = tuple(renames.get(name, name) for name in after)
            added = tuple(name for name in after if name not in before)
            if tuple(name for name in before if name in after) + added != after or before[0] != after[0]:
                raise _Obstructed(f"the order of {_short(path)} changed")
            for name in added:
                is_loaded = name in self.old.digests or name in is_new
                if not is_loaded and name in self.aliases.values():
                    raise _Obstructed(f"another file is loaded as {_short(name)}")
                yield AddCertificate(path, self._loaded(name), None if is_loaded else name)
                is_new.add(name)
            last = {name: path for path in self._changed_lists() for name in self._entries(path)[0]}
            for name in before:
                if name not in after:
                    is_unused = name not in self.new.digests and last[name] == path
                    yield RemoveCertificate(path, self._loaded(name), is_unused)

    def _file_steps(
        self, renames: Mapping[str, str], certificates: Iterable[AddCertificate | RemoveCertificate]
    ) -> Iterator[ReplaceFile]:
        """Yield the replacement of each file whose content changed.

        Raises:
            _Obstructed: a file is needed that is not loaded, is loaded as two things, or is gone from the disk.
        """
        added = {step.file for step in certificates if isinstance(step, AddCertificate)}
        kinds = _file_kinds(self.new) if self.old.digests or self.new.digests else {}
        gone = (self.old.digests.keys() & kinds.keys()) - self.new.digests.keys()
        gone |= self.old.crt_lists.keys() - self.new.crt_lists.keys()
        if gone:
            raise _Obstructed(f"{_short(min(gone))} is missing")
        for path, digest in sorted(self.new.digests.items()):
            old_path = renames.get(path, path)
            if path in self.new.crt_lists and path in self.old.crt_lists:
                continue
            if old_path not in self.old.digests:
                if path not in added:
                    raise _Obstructed(f"{_short(path)} is not loaded yet")
            elif digest != self.old.digests[old_path]:
                if len(kinds.get(path, ())) != 1:
                    raise _Obstructed(f"the content of {_short(path)} changed")
                yield ReplaceFile(next(iter(kinds[path])), self._loaded(old_path), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """One backend whose servers changed.

    `lines` are all its new lines, `frame` those that are no server's. `same` are the servers whose lines both sides
    have in common at the beginning and at the end, `old` and `new` the others: name -> line, since most of 10,000 lines
    need not be understood.
    """

    name: str
    lines: tuple[str, ...]
    frame: list[Words]
    same: Mapping[str, str]
    old: Mapping[str, str]
    new: Mapping[str, str]
    renames: Mapping[str, str]
    version: Version
    inherits: bool

    def steps(self, *, starts_down: bool) -> Iterator[RuntimeStep]:
        """Yield additions, then changes, then removals, so that capacity never sinks below the lower of the two."""
        if any(words[0] in {"default-server", "server-template"} for words in self.frame):
            raise self._obstructed("servers inherit options")
        if self.old and not (self.new or self.same):
            # A backend without servers is UP after a start, but DOWN once its last one was removed; the controller
            # would show the empty pool as failed.
            raise self._obstructed("its last member was removed")
        changes = [step for name in self._changed_names() for step in self._change(name, starts_down=starts_down)]
        yield from self._additions(starts_down=starts_down)
        replaced = {step.server.name for step in changes if isinstance(step, ReplaceServer)}
        if replaced and not self._others_serve(replaced):
            raise self._obstructed("no other server would serve meanwhile")
        if [name for name in self.old if name in self.new] != [name for name in self.new if name in self.old]:
            self._require_free("moved")
        yield from changes
        for name in self.old:
            if name not in self.new:
                self._require_free("removed")
                yield RemoveServer(self.name, name)

    def _changed_names(self) -> Iterator[str]:
        for name, line in self.new.items():
            if name in self.old and self.old[name] != line and self._old_words(name) != self._new_words(name):
                yield name

    def _old_words(self, name: str) -> Words:
        return split_words(self.old[name])

    def _new_words(self, name: str) -> Words:
        return _with_names(split_words(self.new[name]), self.renames)

    def _additions(self, *, starts_down: bool) -> Iterator[RuntimeStep]:
        if self._algorithm() == "roundrobin" and len(self.same) + len(self.new) > ROUNDROBIN_MAX:
            raise self._obstructed(f"roundrobin takes {ROUNDROBIN_MAX} servers")
        for name in self.new:
            if name not in self.old:
                self._require_free("added")
                yield AddServer(self.name, self._added(name), starts_down)

    def _added(self, name: str) -> Server:
        server = self._parsed(self._new_words(name))
        if server.has_cookie and self.version < _COOKIE_VERSION:
            raise self._obstructed(f"HAProxy {self.version} takes no cookie for an added server")
        return server

    def _change(self, name: str, *, starts_down: bool) -> Iterator[RuntimeStep]:
        was, now = self._parsed(self._old_words(name)), self._parsed(self._new_words(name))
        if _is_other(was, now):
            self._require_free("replaced")
            if not is_removal_safe(self.version):
                raise self._obstructed(f"HAProxy {self.version} cannot safely replace a server at once")
            yield ReplaceServer(self.name, self._added(name), starts_down)
            return
        if was.weight != now.weight:
            if self._algorithm() not in ORDERLESS_ALGORITHMS:
                raise self._obstructed(f"balance {self._algorithm()} has fixed weights")
            yield SetWeight(self.name, name, now.weight)
        if was.check_address != now.check_address or was.check_port != now.check_port:
            yield SetCheckAddress(self.name, name, now.check_address, now.check_port)
        if was.is_disabled != now.is_disabled:
            self._require_state_changes()
            yield SetState(self.name, name, not now.is_disabled)

    def _others_serve(self, replaced: set[str]) -> bool:
        lines = ((line, name) for line in self.lines if is_server_line(line) for name in server_names([line]))
        kept = (line for line, name in lines if name in self.same or (name in self.old and name not in replaced))
        others = (self._parsed(_with_names(split_words(line), self.renames)) for line in kept)
        return any(other.weight > 0 and not other.is_disabled and not other.is_backup for other in others)

    def _require_free(self, verb: str) -> None:
        """Raise unless servers may come and go here.

        Source: HAProxy management guide, "add server": a dynamic algorithm is needed. Tried: an added server with
        a PING check (`option external-check`) crashes 2.6.12 and 3.0.11.
        """
        if self._algorithm() not in ORDERLESS_ALGORITHMS:
            raise self._obstructed(f"balance {self._algorithm()} takes no server {verb} at run time")
        unknown = next((words[0] for words in self.frame if words[0] not in _KNOWN_DIRECTIVES), None)
        if self.inherits or unknown is not None or ("option", "external-check") in self.frame:
            raise self._obstructed(f"servers cannot be {verb} under {unknown or 'external-check'}")
        if ("option", "allbackups") not in self.frame and any(
            "backup" in "\n".join(servers.values()) for servers in (self.same, self.old, self.new)
        ):
            raise self._obstructed("only the first backup server takes over")
        self._require_state_changes()

    def _require_state_changes(self) -> None:
        if self._algorithm() == "leastconn" and not changes_under_leastconn(self.version):
            raise self._obstructed(f"HAProxy {self.version} may abort when servers change under leastconn")

    def _algorithm(self) -> str:
        found = [words for words in self.frame if words[0] == "balance"]
        return found[0][1] if len(found) == 1 and len(found[0]) == 2 else "unknown"

    def _parsed(self, words: Words) -> Server:
        server = parse_server(words)
        if server is None:
            raise self._obstructed("a server line is not understood")
        return server

    def _obstructed(self, reason: str) -> _Obstructed:
        return _Obstructed(f"backend {self.name}: {reason}")


def changes_under_leastconn(version: Version) -> bool:
    """Tell whether this version's servers can be changed under `balance leastconn` without making it abort."""
    return not any(first <= version < fixed for first, fixed in _LEASTCONN_ABORTS)


def is_removal_safe(version: Version) -> bool:
    """Tell whether a server may be deleted as soon as it has no connection."""
    return any(first <= version < last for first, last in SAFE_REMOVAL_VERSIONS)


def _is_other(was: Server, now: Server) -> bool:
    """Tell whether a server differs in what cannot be changed while it runs.

    A check's own address or port can be changed but neither given nor taken away: without them the check follows
    the server's TLS and PROXY options.
    """
    alike = replace(
        was,
        weight=now.weight,
        is_disabled=now.is_disabled,
        check_address=now.check_address,
        check_port=now.check_port,
    )
    return (
        alike != now
        or (was.check_address is None) != (now.check_address is None)
        or (was.check_port is None) != (now.check_port is None)
    )


def _commit_of(step: RuntimeStep) -> Commits | None:
    """Return what a step replaces for good in the process.

    Tried on 2.6.12 and 3.0.11: a CA or CRL committed, then a certificate (or the other way round) is a segmentation
    fault at the second or third commit; any number of either alone is not. Source: haproxy issue 3165.
    """
    match step:
        case ReplaceFile(kind=FileKind.CA | FileKind.CRL):
            return Commits.AUTHORITY
        case ReplaceFile() | AddCertificate() | RemoveCertificate():
            return Commits.CERTIFICATE
        case _:
            return None


def _renamed_in_section(was: Section, now: Section) -> Iterator[tuple[str, str]]:
    """Yield (new, old) of file names that differ in lines which are otherwise of the same shape."""
    before, after = (significant_lines(lines) for lines in changed_lines(was, now))
    pairs: Iterable[tuple[Words, Words]] = ()
    if was.kind == "backend":
        by_name = {words[1]: words for words in before if words[0] == "server" and len(words) > 1}
        pairs = ((by_name[w[1]], w) for w in after if w[0] == "server" and len(w) > 1 and w[1] in by_name)
    elif len(before) == len(after):
        pairs = zip(before, after, strict=True)
    for old_words, new_words in pairs:
        if len(old_words) == len(new_words):
            yield from _renamed_in_line(old_words, new_words)


def _renamed_in_line(was: Words, now: Words) -> Iterator[tuple[str, str]]:
    for (option, old), (same, new) in zip(pairwise(was), pairwise(now), strict=True):
        if option == same and option in _KINDS and old != new:
            yield new, old


def _renamed_in_list(before: Words, after: Words) -> Iterator[tuple[str, str]]:
    """Yield (new, old) of certificates that took another's place: the default one, and the others if as many."""
    if before[0] != after[0]:
        yield after[0], before[0]
    if len(before) == len(after):
        for old, new in zip(before[1:], after[1:], strict=True):
            if new not in before and old not in after:
                yield new, old


def _with_names(words: Words, renames: Mapping[str, str]) -> Words:
    """Return a line with the old names of its files."""
    if not renames or words[0] not in {"server", "bind"}:
        return words
    named = [renames.get(word, word) if option in _KINDS else word for option, word in pairwise(words)]
    return (words[0], *named)


def _file_kinds(side: Side) -> dict[str, set[FileKind]]:
    """Return what each file is loaded as."""
    kinds: dict[str, set[FileKind]] = {}
    for section in side.config.sections:
        for line in lines_with_files(section):
            for option, word in pairwise(split_words(line)):
                if option in _KINDS:
                    kinds.setdefault(unquote(word), set()).add(_KINDS[option])
    for text in side.crt_lists.values():
        for line in text.split("\n"):
            words = split_words(line)
            if words:
                kinds.setdefault(unquote(words[0]), set()).add(FileKind.CERTIFICATE)
    return kinds


def _servers(section: Section, lines: Iterable[str]) -> dict[str, str]:
    """Return name -> line of the servers among some lines of a backend, in order.

    Raises:
        _Obstructed: a name stands there twice, or cannot be said in a command.
    """
    servers = server_lines(lines)
    names = server_names(servers)
    found = dict(zip(names, servers, strict=True))
    if len(found) < len(servers) or "" in found or (names and SAFE_WORD.match("".join(names)) is None):
        raise _names_obstruct(section)
    return found


def _names_obstruct(section: Section) -> _Obstructed:
    return _Obstructed(f"{_changed(section)}: its servers' names are not understood")


def _frame(lines: list[Words]) -> list[Words]:
    return [words for words in lines if words[0] != "server"]


def _changed(section: Section) -> str:
    return f"{section.kind} {section.name} changed" if section.name else f"section {section.kind} changed"


def _short(path: str) -> str:
    return path.rpartition("/")[2]
