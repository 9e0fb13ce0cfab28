"""Measure the existing agent and ours in one run: `python -m bench [SECTION ...]`. See README.md beside this file."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import traceback
from pathlib import Path

from bench import budgets, charts, drawing, fleet, picture, report, sections
from bench.budgets import Figures
from bench.contestants import Contestant, our_agent, their_agent
from testbed import octavia_venv

EXISTING = Contestant(
    "existing", lambda: str(octavia_venv.install() / "bin" / "python"), ("octavia", "pyroute2"), their_agent
)
OURS = Contestant("ours", lambda: sys.executable, ("amphora-agent",), our_agent, has_api_2=True)
# Measures the controller, not the two agents side by side, and so stands alone.
FLEET = "fleet"
# Nothing to compare: draws.
PICTURE = "picture"
# Guards against growth, with room for what else shares the libraries and the caches; what is promised stands in the
# full table.
QUICK_PSS_MEGABYTES = 68.0
QUICK_START_CPU_SECONDS = 0.4


def main() -> int:
    """Run the sections that are asked for, print the table; the exit code tells whether a budget was missed."""
    arguments = _parse_arguments()
    if arguments.sections == [FLEET]:
        return fleet.main(arguments.amphorae, is_quick=arguments.quick)
    if arguments.sections == [PICTURE]:
        return picture.main()
    if arguments.quick:
        return quick()
    contestants = [c for c in (EXISTING, OURS) if arguments.only in (None, c.name)]
    samples: dict[str, dict[str, list[float]]] = {EXISTING.name: {}, OURS.name: {}}
    failed = False
    for name in arguments.sections or [name for name in sections.SECTIONS if name not in sections.ON_REQUEST]:
        for contestant in contestants * arguments.rounds:
            began = time.monotonic()
            try:
                measured = sections.SECTIONS[name](contestant)
            except Exception:  # noqa: BLE001  one section's failure must not hide the others' figures
                traceback.print_exc()
                failed, measured = True, {}
            for figure, value in measured.items():
                samples[contestant.name].setdefault(figure, []).append(value)
            print(f"{name:8} {contestant.name:8} {time.monotonic() - began:6.1f} s  {_told(measured)}", flush=True)
    theirs, ours = (
        {figure: statistics.median(values) for figure, values in samples[name].items()}
        for name in (EXISTING.name, OURS.name)
    )
    table = budgets.table(theirs, ours)
    missed = budgets.missed(theirs, ours)
    print("", *table, f"\n{len(missed)} budgets missed", *(f"- {label}" for label in missed), sep="\n")
    if arguments.record is not None:
        charts.draw({"existing agent": theirs, OURS.name: ours})
        arguments.record.write_text(report.page(table, missed, EXISTING.python()), encoding="utf-8")
    return 1 if failed or missed else 0


def quick() -> int:
    """Check our own memory and start against fixed limits; seconds, for every run of the tests.

    The start is measured in CPU time, which a busy machine hardly changes.
    """
    start = sections.start(OURS)["start cpu"]
    pss = sections.memory(OURS)["memory pss"]
    kept = start <= QUICK_START_CPU_SECONDS and pss <= QUICK_PSS_MEGABYTES
    limit = QUICK_START_CPU_SECONDS * 1000
    print(f"start: {start * 1000:.0f} ms of CPU time until the first answer (at most {limit:.0f})")
    print(f"memory: {pss:.1f} MB PSS after {sections.CALLS} calls (at most {QUICK_PSS_MEGABYTES:.0f})")
    return 0 if kept else 1


def _told(figures: Figures) -> Figures:
    """Return the figures without the many that only a chart shows."""
    return {name: value for name, value in figures.items() if name in budgets.NAMES}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the existing agent and ours side by side.")
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"some of: {', '.join(sections.SECTIONS)}; or {FLEET}, or {PICTURE}",
    )
    parser.add_argument("--rounds", type=int, default=1, help="measure each section so often, agents in turn; p50")
    parser.add_argument("--only", choices=(EXISTING.name, OURS.name), help="measure one of the two")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the table to a page of the documentation")
    parser.add_argument(
        "--quick", action="store_true", help="only our memory and start time; of the fleet the middle one"
    )
    parser.add_argument("--amphorae", type=int, nargs="+", default=(), metavar="N", help=f"of the {FLEET}")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(sections.SECTIONS)
    if arguments.record is not None:
        try:
            drawing.pyplot()
        except ImportError:
            parser.error("--record draws: pip install -e .[bench]")
    if unknown and arguments.sections not in ([FLEET], [PICTURE]):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
