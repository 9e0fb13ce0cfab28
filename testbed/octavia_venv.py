"""Make the virtual environments with Octavia from PyPI, beside which the agent is tested and measured. Idempotent.

    python testbed/octavia_venv.py [RELEASE]     prints the environment's directory

One environment a release, kept below `AMPHORA_TEST_TREES` like the Debian trees: outside the checkout, because the
agent must never be able to import what is in there.
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

NEWEST = "19.0.0"
# What a release needs beside itself. Its REST driver imports pyroute2 without declaring it; the others are as old as
# the release, where a newer one no longer has what it uses. `octavia-constraints.txt` pins all the rest.
RELEASES = {
    NEWEST: ("oslo.utils==10.2.0", "pyroute2==0.9.7"),
    "16.0.0": ("oslo.utils==10.2.0", "pyroute2==0.9.7"),
    "14.0.2": ("oslo.utils==7.4.0", "pyroute2==0.7.12", "setuptools<81"),
}


def directory(release: str = NEWEST) -> Path:
    """Return where the environment of a release is, or will be."""
    return Path(os.environ.get("AMPHORA_TEST_TREES") or "/var/cache/amphora-agent-tests") / f"octavia-{release}"


def wanted(release: str) -> dict[str, object]:
    """Return what a finished environment says of itself."""
    packages = [f"octavia=={release}", *RELEASES[release]]
    return {"packages": packages, "python": sys.version.split()[0], "constraints": constraints().read_text()}


def is_ready(release: str) -> bool:
    """Tell whether the environment is complete and made of what is wanted now."""
    try:
        return bool(json.loads((directory(release) / "ready.json").read_text())["wanted"] == wanted(release))
    except (OSError, ValueError, KeyError):
        return False


def install(release: str = NEWEST) -> Path:
    """Make the environment unless it is ready, and return its directory. The first time takes about a minute."""
    venv = directory(release)
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready(release):
            _make(venv, release)
    return venv


def _make(venv: Path, release: str) -> None:
    began = time.monotonic()
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    # Python compiles what a test imports; that is a small part of what comes along.
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    options = ["--disable-pip-version-check", "--constraint", str(constraints())]
    subprocess.run([*pip, *options, f"octavia=={release}", *RELEASES[release]], check=True)
    seconds = round(time.monotonic() - began, 1)
    (venv / "ready.json").write_text(json.dumps({"wanted": wanted(release), "seconds": seconds}))


def constraints() -> Path:
    """Return the file that pins what a release brings along."""
    return Path(__file__).with_name("octavia-constraints.txt")


if __name__ == "__main__":
    print(install(*sys.argv[1:]))  # noqa: T201  the one thing it is asked for
