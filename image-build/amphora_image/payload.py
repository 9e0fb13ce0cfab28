"""image-build/payload: gathers what an image gets from this checkout, the agent with its packages included.

    image-build/payload --release trixie --arch amd64 DIRECTORY

Never asks an index when AMPHORA_WHEELHOUSE names a directory of wheels; never writes into the checkout.

Decision: packages lie in /opt/amphora-agent and each command adds that to Python's path by itself: no virtual
environment, whose interpreter starts slower, and no pip in the image.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1]
REPOSITORY = BUILD.parent
LOCK = BUILD / "requirements.lock"
TREE = BUILD / "elements/amphora-agent/tree"
PACKAGES = "opt/amphora-agent"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_MANYLINUX = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
_COMMAND = """\
#!/usr/bin/python3 -Es
import sys
sys.path[0] = "/{packages}"
from {module} import {function}
sys.exit({function}())
"""


def main() -> int:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(prog="payload", description="gather what an image gets from this checkout")
    parser.add_argument("--release", choices=sorted(PYTHONS), default="trixie")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="amd64")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    gather(arguments.directory, arguments.release, arguments.arch)
    return 0


def gather(target: Path, release: str, arch: str) -> None:
    """Write the tree that is laid over the image's root.

    Raises:
        subprocess.CalledProcessError: pip failed; its words are on standard error.
    """
    os.umask(0o022)
    shutil.copytree(TREE, target, symlinks=True, dirs_exist_ok=True)
    install_packages(target / PACKAGES, release, arch)
    units = target / "usr/lib/systemd/system"
    for unit in sorted((REPOSITORY / "systemd").glob("*.service")):
        _copy(unit, units / unit.name, 0o644)
    _copy(REPOSITORY / "etc/lvs-masquerade.sh", target / "usr/local/bin/lvs-masquerade.sh", 0o755)
    latency = "05-amphora-latency.conf"
    _copy(REPOSITORY / "etc/rsyslog" / latency, target / "etc/rsyslog.d" / latency, 0o644)
    _copy(REPOSITORY / "etc/amphora-agent.conf", target / "usr/share/doc/amphora-agent/amphora-agent.conf", 0o644)
    for page in sorted((REPOSITORY / "docs/man").iterdir()):
        _copy(page, target / "usr/local/share/man" / f"man{page.suffix[1:]}" / page.name, 0o644)
    _copy(REPOSITORY / "LICENSE", target / "usr/share/doc/amphora-agent/copyright", 0o644)
    write_commands(target / "usr/local/bin")


def write_commands(directory: Path) -> None:
    """Write the project's commands, for the distribution's Python and the packages beside it."""
    for name, entry in _project()["scripts"].items():
        module, _, function = entry.partition(":")
        command = directory / name
        command.write_text(_COMMAND.format(packages=PACKAGES, module=module, function=function))
        command.chmod(0o755)


def install_packages(target: Path, release: str, arch: str) -> None:
    """Install the packages of `requirements.lock` and the agent for another Python than the one that runs this."""
    with tempfile.TemporaryDirectory() as work:
        wheels = Path(work)
        pip(["wheel", "--no-deps", f"--wheel-dir={wheels}", str(_copy_of_source(wheels))])
        pip(["install", *foreign(release, arch), f"--target={target}", "--require-hashes", f"--requirement={LOCK}"])
        agent = next(wheels.glob("amphora_agent-*.whl"))
        pip(["install", "--no-deps", "--no-compile", f"--target={target}", str(agent)])
    # Commands with the interpreter of this machine in their first line, and manual pages where nobody looks for them.
    for directory in ("bin", "share"):
        shutil.rmtree(target / directory, ignore_errors=True)
    for cache in list(target.rglob("__pycache__")):
        shutil.rmtree(cache)
    # pip's own notes, with the paths of this build.
    for note in ("RECORD", "REQUESTED", "INSTALLER", "direct_url.json"):
        for path in target.glob(f"*.dist-info/{note}"):
            path.unlink()


def foreign(release: str, arch: str) -> list[str]:
    """Return pip's options for the wheels of an image."""
    python, machine = PYTHONS[release], MACHINES[arch]
    platforms = [f"--platform={version}_{machine}" for version in _MANYLINUX]
    abis = [f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none"]
    return [
        "--only-binary=:all:",
        "--no-compile",
        "--implementation=cp",
        f"--python-version={python}",
        *platforms,
        *abis,
    ]


def pip(arguments: list[str]) -> None:
    """Run this Python's pip; with AMPHORA_WHEELHOUSE it finds everything there and asks nobody."""
    wheelhouse = os.environ.get("AMPHORA_WHEELHOUSE")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheelhouse} if wheelhouse else {}
    # Its errors alone: it warns of root, and of the directory that the second of two installations finds.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | offline)


def _project() -> dict[str, dict[str, str]]:
    project: dict[str, dict[str, str]] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return project


def _copy_of_source(work: Path) -> Path:
    source = work / "source"
    shutil.copytree(
        REPOSITORY / "amphora_agent", source / "amphora_agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(REPOSITORY / "docs/man", source / "docs/man")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    # The wheel's metadata would hold it: another word in it were another image.
    (source / "README.md").touch()
    return source


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
