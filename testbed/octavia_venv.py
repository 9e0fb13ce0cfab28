"""Make the virtual environment with Octavia from PyPI, beside which the agent is tested and measured. Idempotent.

    python testbed/octavia_venv.py          prints the environment's directory

`AMPHORA_AGENT_OCTAVIA_VENV` names another place; the default is outside the checkout, because the agent must never
be able to import what is in there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# Its REST driver imports pyroute2 without declaring it.
OCTAVIA = ("octavia==19.0.0", "pyroute2==0.9.7")
DEFAULT = Path("/var/cache/amphora-agent-tests/octavia-venv")


def directory() -> Path:
    """Return where the environment is, or will be."""
    return Path(os.environ.get("AMPHORA_AGENT_OCTAVIA_VENV") or DEFAULT)


def wanted() -> dict[str, object]:
    """Return what a finished environment says of itself."""
    return {"packages": list(OCTAVIA), "python": sys.version.split()[0], "constraints": _constraints().read_text()}


def is_ready() -> bool:
    """Tell whether the environment is complete and of this version."""
    try:
        return bool(json.loads((directory() / "ready.json").read_text())["wanted"] == wanted())
    except (OSError, ValueError, KeyError):
        return False


def install() -> Path:
    """Make the environment unless it is ready, and return its directory. The first time takes about a minute."""
    venv = directory()
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready():
            _make(venv)
    return venv


def _make(venv: Path) -> None:
    began = time.monotonic()
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(_constraints()), *OCTAVIA], check=True)
    seconds = round(time.monotonic() - began, 1)
    (venv / "ready.json").write_text(json.dumps({"wanted": wanted(), "seconds": seconds}))


def _constraints() -> Path:
    return Path(__file__).with_name("octavia-constraints.txt")


if __name__ == "__main__":
    print(install())  # noqa: T201  the one thing it is asked for
