"""What only looks at changed lines comes to what looking at all of them comes to, over random edits."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from amphora_agent.core.haproxy.change import Decision, Nothing, Permissions, Reload, Runtime, decide
from amphora_agent.core.haproxy.config import parse_edited, parse_text
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.process_id import ProcessId
from testbed import haproxy_text

EDITS = 2000
WORKER = ProcessId(1, 2)
TOP = ["global", "    maxconn 10", "frontend f", "    bind 10.0.0.1:80"]
NAMES = "abcdefghijklmnop"
PLAIN_FRAME = ["    balance roundrobin", "    option allbackups"]
FRAMES = [
    "    balance roundrobin",
    "    balance leastconn",
    "    balance source",
    "    option allbackups",
    "    use-server a if TRUE",
    "    # a remark",
    "",
]
ODD_LINES = [
    "    server",
    "    server ",
    "\tserver\ta 10.0.0.9:80",
    '    server "a" 10.0.0.9:80',
    "    server a;b 10.0.0.9:80",
    "    server c 10.0.0.9:80 unheard-of",
    "    default-server weight 3",
    "backend three",
    "  frontend g",
]
OPTIONS = ["", " weight 0", " weight 2", " check", " backup", " disabled", " cookie a", " crt /pem"]


def server(chance: random.Random) -> str:
    return f"    server {chance.choice(NAMES)} 10.0.0.{chance.randint(1, 3)}:80{chance.choice(OPTIONS)}"


def configuration(chance: random.Random) -> list[str]:
    lines = list(TOP)
    for name in ("one", "two"):
        names = chance.sample(NAMES, chance.randint(0, 6))
        lines += [f"backend {name}", *(PLAIN_FRAME if chance.random() < 0.7 else chance.sample(FRAMES, 2))]
        lines += [f"    server {each} 10.0.0.1:80{chance.choice(OPTIONS)}" for each in names]
    if chance.random() < 0.1:
        lines.insert(chance.randint(0, len(lines)), chance.choice(ODD_LINES))
    return lines


def edited(lines: list[str], chance: random.Random) -> list[str]:
    found = list(lines)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        at = chance.randint(min(len(TOP) + 1, len(found)), len(found))
        match chance.randint(0, 9):
            case 0 | 1 | 2:
                found.insert(at, server(chance))
            case 3 | 4:
                del found[at : at + 1]
            case 5 | 6:
                found[at : at + 1] = [server(chance)]
            case 7 | 8:
                found[at : at + 2] = reversed(found[at : at + 2])
            case _:
                found.insert(at, chance.choice([*FRAMES, *ODD_LINES]))
    return found


def with_nothing_in_common(lines: list[str], mark: str) -> list[str]:
    """Return the same with a remark at both ends of each section, so that all lines in between count as changed."""
    found = [f"# {mark}"]
    for line in lines:
        starts = bool(parse_text(line).headers)
        found += [f"# {mark}", line, f"# {mark}"] if starts else [line]
    return [*found, f"# {mark}"]


def decision(before: list[str], after: list[str], version: Version) -> Decision:
    applied = haproxy_text.stored(config="\n".join(before), digests={"/pem": ""}).applied_to(WORKER)
    stored = haproxy_text.stored(config="\n".join(after), digests={"/pem": ""})
    return decide(applied, stored, WORKER, Permissions(version=version))


@pytest.mark.parametrize("version", [Version(2, 6), Version(3, 0)], ids=str)
def test_a_decision_from_the_changed_lines_is_the_one_from_all_lines(version: Version) -> None:
    chance = random.Random(os.environ["AMPHORA_SEED"])  # noqa: S311 - for tests
    kinds: Counter[type[Decision]] = Counter()
    for number in range(EDITS):
        before = configuration(chance)
        after = edited(before, chance)
        whole = decision(with_nothing_in_common(before, "before"), with_nothing_in_common(after, "after"), version)
        assert decision(before, after, version) == whole, (number, before, after)
        kinds[type(whole)] += 1
    assert min(kinds[kind] for kind in (Nothing, Reload, Runtime)) > EDITS / 20, kinds


def test_a_model_made_from_another_one_is_the_models_of_the_text() -> None:
    chance = random.Random(os.environ["AMPHORA_SEED"])  # noqa: S311 - for tests
    lines = configuration(chance)
    parsed = parse_text("\n".join(lines))
    for _ in range(EDITS):
        lines = edited(lines, chance) if len(lines) < 60 else configuration(chance)
        text = "\n".join(lines) + chance.choice(("", "\n", "\n\n"))
        parsed = parse_edited(text, parsed)
        assert parsed == parse_text(text)


def test_a_model_made_from_another_one_shares_its_lines() -> None:
    before = parse_text("backend b\n" + "".join(f"    server {number} 10.0.0.1:80\n" for number in range(9)))
    after = parse_edited(before.text.replace("server 4", "server 40"), before)
    shared = [one is other for one, other in zip(before.lines, after.lines, strict=True)]
    assert shared.count(False) == 1
