"""What is promised of each figure, and the table that says whether it was kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Figures = Mapping[str, float]
MILLI = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One line of the table.

    Args:
        figure: its name among the measured ones.
        label: what the reader sees.
        unit: `ms` for figures in seconds, else printed as it is.
        ratio: at most this share of the existing agent's figure.
        limit: at most this much, whatever the existing agent needs.
        least: at least this much.
    """

    figure: str
    label: str
    unit: str = ""
    ratio: float | None = None
    limit: float | None = None
    least: float | None = None

    def verdict(self, theirs: float | None, ours: float | None) -> str:
        """Return `met`, `MISSED` or, when nothing can be said, an empty text."""
        if ours is None or (self.ratio, self.limit, self.least) == (None, None, None):
            return ""
        kept = []
        if self.ratio is not None and theirs is not None:
            kept.append(ours <= theirs * self.ratio)
        if self.limit is not None:
            kept.append(ours <= self.limit)
        if self.least is not None:
            kept.append(ours >= self.least)
        return "" if not kept else "met" if all(kept) else "MISSED"

    @property
    def promise(self) -> str:
        """The budget in words."""
        parts = []
        if self.ratio is not None:
            parts.append(f"1/{round(1 / self.ratio)}")
        if self.limit is not None:
            parts.append(f"<= {show(self.limit, self.unit)}")
        if self.least is not None:
            parts.append(f">= {show(self.least, self.unit)}")
        return ", ".join(parts)


BUDGETS = (
    Budget(figure="memory pss", label="memory of all agent processes after 200 calls, PSS", unit="MB", limit=40),
    Budget(figure="memory rss", label="the same, RSS", unit="MB", ratio=1 / 3),
    Budget(figure="memory anonymous", label="of it anonymous, PSS", unit="MB", limit=30),
    Budget(figure="memory processes", label="agent processes"),
    Budget(figure="start", label="start to first answer over mutual TLS", unit="ms", ratio=1 / 2),
    Budget(figure="start cpu", label="CPU time until then, at least", unit="ms", limit=0.18),
    Budget(figure="size packages", label="installed packages", limit=22),
    Budget(figure="size", label="their size without bytecode", unit="MB", limit=40),
    Budget(figure="details p50", label="GET details p50, kept connection", unit="ms", ratio=1 / 6),
    Budget(
        figure="details p95 loaded", label="GET details p95, 16 clients, 1,000 members applied", unit="ms", ratio=1 / 4
    ),
    Budget(figure="read p50", label="a read on a connection of its own, alone, p50", unit="ms"),
    Budget(
        figure="read p99 crowded", label="the same beside 32 clients that upload and reload, p99", unit="ms", limit=0.15
    ),
    Budget(figure="silent none", label="GET / alone", unit="ms"),
    Budget(figure="silent 1", label="GET / beside 1 silent client", unit="ms", limit=0.1),
    Budget(figure="silent 200", label="GET / beside 200 silent clients", unit="ms", limit=0.1),
    Budget(figure="plug vip", label="plug VIP, IPv4", unit="ms", ratio=1 / 8, limit=0.25),
    Budget(figure="apply 2", label="apply one member change among 2", unit="ms", ratio=1 / 4),
    Budget(figure="apply 100", label="apply one member change among 100", unit="ms", ratio=1 / 4),
    Budget(figure="apply 1000", label="apply one member change among 1,000", unit="ms", ratio=1 / 3),
    Budget(figure="apply 10 x 1000", label="apply one member change among 10 x 1,000", unit="ms"),
    Budget(figure="apply 4000", label="apply one member change among 4,000", unit="ms"),
    Budget(figure="apply 10000", label="apply one member change among 10,000", unit="ms", limit=0.3),
    Budget(figure="apply 2 cpu", label="CPU of it, agent and checks: among 2", unit="ms", limit=0.06),
    Budget(figure="apply 1000 cpu", label="among 1,000", unit="ms", limit=0.06),
    Budget(figure="apply 10 x 1000 cpu", label="among 10 x 1,000", unit="ms", limit=0.06),
    Budget(figure="apply 4000 cpu", label="among 4,000", unit="ms", limit=0.06),
    Budget(figure="apply 10000 cpu", label="among 10,000", unit="ms", limit=0.06),
    Budget(figure="api2 upload 100", label="one member among 100: upload and reload, beside API 2.0", unit="ms"),
    Budget(figure="api2 members 100", label="the same by PUT members of API 2.0", unit="ms"),
    Budget(figure="api2 members share 100", label="of the former", unit="x", limit=1.0),
    Budget(figure="api2 document share 100", label="the same by the whole document", unit="x"),
    Budget(figure="api2 upload 1000", label="one member among 1,000: upload and reload, beside API 2.0", unit="ms"),
    Budget(figure="api2 members 1000", label="the same by PUT members of API 2.0", unit="ms"),
    Budget(figure="api2 members share 1000", label="of the former", unit="x", limit=1.0),
    Budget(figure="api2 document share 1000", label="the same by the whole document", unit="x", limit=1.5),
    Budget(figure="api2 memory", label="what 200 calls of API 2.0 add to memory, PSS", unit="MB", limit=4.0),
    Budget(figure="churn processes", label="HAProxy processes after 50 changes under 750 connections", limit=3),
    Budget(figure="churn rss before", label="their RSS before", unit="MB"),
    Budget(figure="churn rss", label="their RSS after", unit="MB"),
    Budget(figure="churn rss growth", label="their growth", unit="x", limit=1.05),
    Budget(figure="churn broken", label="connections broken", limit=0),
    Budget(figure="cpu per heartbeat 10", label="CPU per heartbeat, 10 members", unit="ms", limit=0.0013),
    Budget(figure="cpu per heartbeat 100", label="CPU per heartbeat, 100 members", unit="ms", limit=0.0014),
    Budget(figure="cpu per heartbeat 1000", label="CPU per heartbeat, 1,000 members", unit="ms", limit=0.0045),
    Budget(figure="heartbeat pss", label="memory of the heartbeat process, 1,000 members, PSS", unit="MB", limit=12),
    Budget(figure="idle cpu", label="CPU per idle minute, beats every 10 s", unit="ms", limit=0.015),
    Budget(figure="idle wake-ups", label="wake-ups per idle minute", limit=12),
    Budget(figure="heartbeat members", label="largest load balancer whose heartbeat arrives, members", least=20_000),
    Budget(figure="heartbeat members shown", label="most members shown in a heartbeat", least=3_500),
    Budget(figure="scrape cpu 1000", label="scrape of 1,000 members, the proxy's CPU", unit="ms", ratio=1 / 3),
    Budget(figure="scrape 1000", label="scrape of 1,000 members", unit="ms"),
    Budget(figure="scrape rss 1000", label="the proxy's RSS meanwhile", unit="MB", ratio=1 / 2),
    Budget(figure="scrape cpu 5000", label="scrape of 5,000 members, the proxy's CPU", unit="ms"),
    Budget(figure="scrape 5000", label="scrape of 5,000 members", unit="ms", limit=1.0),
    Budget(figure="scrape rss 5000", label="the proxy's RSS meanwhile, 5,000 members", unit="MB", limit=16),
    Budget(figure="tool status", label="CPU time of `amphoractl status`, 100 members", unit="ms", limit=0.15),
    Budget(figure="tool doctor", label="CPU time of `amphoractl doctor`", unit="ms", limit=1.0),
    Budget(figure="resumed", label="TLS sessions resumed over 50 member and certificate changes", unit="%", least=100),
    Budget(figure="slow sending", label="kernel memory per unread download, to the client", unit="MB", limit=0.2),
    Budget(figure="slow all", label="with what the member has sent ahead", unit="MB"),
    Budget(figure="upload growth", label="memory for an upload of 50 MB", unit="MB", limit=10),
    Budget(figure="upload status", label="its answer"),
)

NAMES = frozenset(budget.figure for budget in BUDGETS)


def table(theirs: Figures, ours: Figures) -> list[str]:
    """Return the lines of a Markdown table of every figure that at least one agent has."""
    lines = [
        "| what | existing agent | ours | ratio | budget | |",
        "|---|---:|---:|---:|---|---|",
    ]
    for budget in BUDGETS:
        their, our = theirs.get(budget.figure), ours.get(budget.figure)
        if their is None and our is None:
            continue
        cells = (
            budget.label,
            show(their, budget.unit),
            show(our, budget.unit),
            ratio(their, our),
            budget.promise,
            budget.verdict(their, our),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def missed(theirs: Figures, ours: Figures) -> list[str]:
    """Return the labels of the budgets that were not kept."""
    return [b.label for b in BUDGETS if b.verdict(theirs.get(b.figure), ours.get(b.figure)) == "MISSED"]


def show(value: float | None, unit: str) -> str:
    """Return a figure as a reader wants it."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "never (10 s)"
    number = value * MILLI if unit == "ms" else value
    digits = 0 if number >= 100 or number == int(number) else 1 if number >= 10 else 2
    return f"{number:,.{digits}f} {unit}".strip()


def ratio(theirs: float | None, ours: float | None) -> str:
    """Return how many times less ours is, as `1/n`, or how many times more."""
    if not theirs or not ours or math.isinf(theirs) or math.isinf(ours):
        return ""
    return f"1/{theirs / ours:.1f}" if ours <= theirs else f"{ours / theirs:.1f}"
