"""The page of the documentation that shows a run: the table, the machine and the versions it is true for."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench import charts

_VERSION = "import importlib.metadata as m; print(m.version('octavia'))"
_HEAD = """# Performance

Measured by `python -m bench --record docs/performance.md SECTION ...`, which writes this page; `bench/README.md` says
how each figure is made, and what the two agents do not have in common. Both agents ran one after the other on one
machine, so their columns can be compared; the seconds depend on the machine and on what else it did, CPU time and
memory hardly.

"""


def page(table: Sequence[str], missed: Sequence[str], existing_python: str) -> str:
    """Return the page.

    Args:
        table: lines of a Markdown table.
        missed: labels of the budgets that were not kept.
        existing_python: the interpreter the existing agent is installed for.
    """
    facts = "".join(f"- {name}: {value}\n" for name, value in _facts(existing_python))
    kept = "All budgets are met." if not missed else "Not met: " + "; ".join(missed) + "."
    rows = "\n".join(table)
    return f"{_HEAD}{facts}\n{rows}\n\n{kept}\n\n![the same, drawn](pictures/{charts.NAME})\n"


def _facts(existing_python: str) -> list[tuple[str, str]]:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        ("machine", f"{os.cpu_count()} x {_processor()}, Linux {platform.release()}; load at the end: {load}"),
        ("Python", platform.python_version()),
        ("HAProxy", _first_line(["haproxy", "-v"])),
        ("existing agent", f"octavia {_first_line([existing_python, '-c', _VERSION])}"),
    ]


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
    return "unknown processor" if found is None else found[1]


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] or "unknown"
