"""What to do when the stored configuration may differ from what HAProxy runs: nothing, start, runtime steps or reload.

Pure: the caller gathers the facts and performs the decision. Never decides on the text alone: a certificate renewed
under the same crt-list leaves haproxy.cfg identical to the byte, and `tune.ssl.cachesize` differs in every upload.

Decision: whatever is not provably the same, or provably reachable through the runtime API, is a reload. A wrong
`Nothing` breaks tenants in silence; a needless reload costs some memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from amphora_agent.core.haproxy.config import Config, Section, changed_lines, parse, significant_lines
from amphora_agent.core.haproxy.plan import ORDERLESS_ALGORITHMS, Obstacle, Plan, Planner, Side
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
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
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig

_DEEDS: dict[type[RuntimeStep], str] = {
    AddServer: "member(s) added",
    ReplaceServer: "member(s) replaced",
    RemoveServer: "member(s) removed",
    SetWeight: "weight(s) changed",
    SetCheckAddress: "check(s) moved",
    AddCertificate: "cert(s) added",
    RemoveCertificate: "cert(s) removed",
}
_ORDER_MATTERS = frozenset({"default-server", "server-template"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is on disk now: `config` as text and `parsed`; `digests` and `crt_lists` as in `AppliedConfig`."""

    config: str
    parsed: Config
    digests: Mapping[str, str]
    crt_lists: Mapping[str, str] = field(default_factory=dict)

    def applied_to(self, worker: ProcessId) -> AppliedConfig:
        """Return the record of a process that has just read these files."""
        return AppliedConfig(config=self.config, digests=self.digests, crt_lists=self.crt_lists, worker=worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What may be done at run time.

    Attributes:
        version: of the running process, None when unknown: then every change is a reload.
        runtime_changes: the operator's switch.
        reload_only: why this instance is to be reloaded at every change; empty when it is not.
        new_members_start_down: a member added at run time takes no traffic before its first good check.
    """

    version: Version | None = None
    runtime_changes: bool = True
    reload_only: str = ""
    new_members_start_down: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """HAProxy already runs what is stored."""

    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """HAProxy does not run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """HAProxy can be told each difference while it runs; what holds afterwards stands in the plan."""

    plan: Plan
    reason: str


@dataclass(frozen=True, slots=True)
class Reload:
    """HAProxy has to read its files again."""

    reason: str


Decision: TypeAlias = Nothing | Start | Runtime | Reload


def decide(
    applied: AppliedConfig | None,
    stored: Stored,
    running: ProcessId | None,
    permissions: Permissions,
    parse_applied: Callable[[str], Config] = parse,
) -> Decision:
    """Return what makes the running HAProxy equal to the stored files, with the reason in words.

    Args:
        applied: the record of the last success, None when there is none that can be read.
        stored: the files on disk.
        running: the current worker, None when HAProxy does not run.
        permissions: what the running HAProxy and the operator allow.
        parse_applied: gives the model of what was applied; a caller may remember it.
    """
    if running is None:
        return Start("HAProxy is not running")
    if applied is None:
        return Reload("what HAProxy runs is not known")
    if applied.worker != running:
        return Reload("HAProxy was started by someone else since the last change")
    if applied.is_unfinished:
        return Reload("the last change was interrupted")
    old = stored.parsed if applied.config == stored.config else parse_applied(applied.config)
    change = describe_change(old, stored.parsed) or _changed_file(applied, stored)
    if change is None:
        return Nothing("HAProxy already runs this configuration")
    return _decide_change(applied, old, stored, change, permissions)


def _decide_change(
    applied: AppliedConfig, old: Config, stored: Stored, change: str, permissions: Permissions
) -> Runtime | Reload:
    """Return the runtime plan when there is one for every difference, else Reload."""
    if not permissions.runtime_changes:
        return Reload(f"{change}; runtime changes are switched off")
    if permissions.reload_only:
        return Reload(f"{change}; {permissions.reload_only}")
    if permissions.version is None:
        return Reload(f"{change}; the version of the running HAProxy is not known")
    if _names(old) != _names(stored.parsed):
        return Reload(change)
    planner = Planner(
        old=Side(config=old, digests=applied.digests, crt_lists=applied.crt_lists),
        new=Side(config=stored.parsed, digests=stored.digests, crt_lists=stored.crt_lists),
        aliases=applied.aliases,
        commits=applied.commits,
        version=permissions.version,
        starts_down=permissions.new_members_start_down,
    )
    match planner.plan():
        case Plan() as plan:
            return Runtime(plan, summarise(plan.steps) or change)
        case Obstacle(reason):
            return Reload(reason)


def summarise(steps: tuple[RuntimeStep, ...]) -> str:
    """Return what the steps do, for the log: "2 members added, 1 weight changed"."""
    counts = Counter(_deed(step) for step in steps)
    return ", ".join(f"{count} {deed}" for deed, count in counts.items())


def _deed(step: RuntimeStep) -> str:
    match step:
        case SetState(is_enabled=is_enabled):
            return "member(s) enabled" if is_enabled else "member(s) disabled"
        case ReplaceFile(kind=kind):
            return f"{kind}(s) replaced"
        case _:
            return _DEEDS[type(step)]


def _changed_file(applied: AppliedConfig, stored: Stored) -> str | None:
    """Name the first file that differs, None when none does."""
    for path in sorted(applied.digests.keys() | stored.digests.keys()):
        if applied.digests.get(path) != stored.digests.get(path):
            return f"the content of {path.rpartition('/')[2]} changed"
    return None


def describe_change(old: Config, new: Config) -> str | None:
    """Name the first difference between two configurations that HAProxy would notice, None when there is none."""
    before, after = _names(old), _names(new)
    removed, added = set(before) - set(after), set(after) - set(before)
    if removed:
        return f"{_title(*min(removed))} was removed"
    if added:
        return f"{_title(*min(added))} was added"
    if before != after:
        return "the order of the sections changed"
    if significant_lines(old.preamble) != significant_lines(new.preamble):
        return "lines before the first section changed"
    for was, now in zip(old.sections, new.sections, strict=True):
        if was.lines != now.lines and not is_same(was, now):
            return f"{_title(now.kind, now.name)} changed"
    return None


def _names(config: Config) -> list[tuple[str, str]]:
    return [(section.kind, section.name) for section in config.sections]


def _title(kind: str, name: str) -> str:
    return f"{kind} {name}" if name else f"section {kind}"


def is_same(old: Section, new: Section) -> bool:
    """Tell whether HAProxy takes two sections of the same kind and name for the same.

    Comments, blank lines and runs of blanks say nothing; nor does `tune.ssl.cachesize`, which the controller derives
    from the free memory of the moment, nor the order of servers where requests are spread by weight alone.
    """
    before, after = (significant_lines(lines) for lines in changed_lines(old, new))
    if before == after:
        return True
    if old.kind != "backend" or sorted(before) != sorted(after):
        return False
    others = ([words for words in lines if words[0] != "server"] for lines in (before, after))
    return next(others) == next(others) and _is_orderless(new)


def _is_orderless(backend: Section) -> bool:
    """Tell whether the order of a backend's servers means nothing.

    It means something to other algorithms, to lines that servers inherit from, and where only the first backup
    server takes over (no `option allbackups`).
    """
    lines = significant_lines(line for line in backend.lines if not line.lstrip().startswith("server "))
    balances = [words[1:] for words in lines if words[0] == "balance"]
    if len(balances) != 1 or not balances[0] or balances[0][0] not in ORDERLESS_ALGORITHMS:
        return False
    if any(words[0] in _ORDER_MATTERS for words in lines):
        return False
    return ("option", "allbackups") in lines or not any("backup" in line for line in backend.lines)
