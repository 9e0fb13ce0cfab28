"""image-build/lock: writes requirements.lock, the exact Python packages of the image with their hashes.

Asks the index that pip is configured for, once for each release and architecture. Never writes an index's address.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

from amphora_image.payload import LOCK, MACHINES, PYTHONS, REPOSITORY, foreign

_HEAD = "# Written by image-build/lock: the Python packages of the image, for every release and architecture.\n"


def main() -> int:
    """Write the file."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    # Not what amphoractl is coloured with: YAML is Debian's, and nobody logs in.
    wanted = project["dependencies"]
    hashes: dict[str, set[str]] = defaultdict(set)
    for release in PYTHONS:
        for arch in MACHINES:
            for name, digest in resolve(wanted, release, arch):
                hashes[name].add(digest)
    lines = (
        f"{name}{''.join(f' --hash=sha256:{digest}' for digest in sorted(hashes[name]))}\n" for name in sorted(hashes)
    )
    LOCK.write_text(_HEAD + "".join(lines))
    return 0


def resolve(wanted: list[str], release: str, arch: str) -> list[tuple[str, str]]:
    """Return `name==version` and the wheel's SHA-256 of every package that an image needs."""
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--dry-run"]
        options = ["--ignore-installed", f"--target={work}/target", f"--report={report}", *foreign(release, arch)]
        subprocess.run([*pip, *options, *wanted], check=True)
        items = json.loads(report.read_text())["install"]
    return [
        (
            f"{item['metadata']['name'].lower().replace('_', '-')}=={item['metadata']['version']}",
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in items
    ]


if __name__ == "__main__":
    sys.exit(main())
