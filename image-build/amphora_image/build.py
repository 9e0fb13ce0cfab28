"""image-build/build: one command from this checkout to an amphora image that can be uploaded.

    image-build/build [--release trixie|bookworm] [--arch amd64|arm64] [--kernel generic|cloud]
                      [--cloud-init] [--no-slim] [--ssh] [--format qcow2|raw] [--output FILE]

Runs diskimage-builder with the elements beside it and makes a disk of the result. The root file system is kept by the
hash of everything that it is made of; a build that finds it takes seconds. Never writes into the checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from amphora_image import grub, sbom, tools
from amphora_image.layout import Layout
from amphora_image.make_disk import make_disk
from amphora_image.payload import BUILD, LOCK, REPOSITORY, TREE, gather, pip
from amphora_image.root_tree import BASE_EPOCH
from amphora_image.tools import CannotBuild

CACHE = Path(os.environ.get("AMPHORA_IMAGE_CACHE", "/var/cache/amphora-image"))
DISK_MIB = 2048
KEPT_SECONDS = 14 * 86400.0
_BUILDER = BUILD / "requirements-builder.txt"
# A package without a condition below it.
_UNCONDITIONAL = re.compile(r"^([a-z0-9][a-z0-9.+-]+):$(?!\n )", re.MULTILINE)
_MIRRORS = {"debian": "DIB_DISTRIBUTION_MIRROR", "debian-security": "DIB_DEBIAN_SECURITY_MIRROR"}
_INPUTS = ("amphora_agent", "docs/man", "systemd", "etc", "image-build", "pyproject.toml", "LICENSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What kind of image is wanted."""

    release: str = "trixie"
    arch: str = "amd64"
    kernel: str = "generic"
    has_cloud_init: bool = False
    is_slim: bool = True
    has_ssh: bool = False
    elements: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Options:
        """Return the options that `json.dumps(asdict(options))` wrote; ValueError, KeyError or TypeError for others."""
        fields = json.loads(text)
        return cls(**(fields | {"elements": tuple(fields["elements"])}))

    def element_names(self) -> list[str]:
        """Return diskimage-builder's elements, in order."""
        reader = "amphora-cloud-init" if self.has_cloud_init else "amphora-config-drive"
        names = ["amphora-os", "amphora-agent", reader]
        names += ["amphora-slim"] if self.is_slim else []
        names += ["amphora-ssh"] if self.has_ssh else []
        return [*names, *self.elements]


def main() -> int:
    """Carry out the command line; 1 when the image cannot be built, with the reason."""
    arguments = _parser().parse_args()
    options = Options(
        release=arguments.release,
        arch=arguments.arch,
        kernel=arguments.kernel,
        has_cloud_init=arguments.cloud_init,
        is_slim=not arguments.no_slim,
        has_ssh=arguments.ssh,
        elements=tuple(arguments.element),
    )
    suffix = f".{arguments.format}"
    target = arguments.output or Path(f"amphora-{options.release}-{options.arch}{suffix}")
    if target.suffix != suffix:
        sys.stderr.write(f"the output's name must end in {suffix}\n")
        return 2
    try:
        build(options, target.absolute(), force=arguments.no_cache)
    except CannotBuild as error:
        sys.stderr.write(f"cannot build: {error}\n")
        return 1
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build", description="build an amphora image")
    parser.add_argument("--release", choices=("trixie", "bookworm"), default="trixie")
    parser.add_argument("--arch", choices=("amd64", "arm64"), default="amd64")
    parser.add_argument("--kernel", choices=("generic", "cloud"), default="generic")
    parser.add_argument("--cloud-init", action="store_true", help="cloud-init in place of the config-drive reader")
    parser.add_argument("--no-slim", action="store_true", help="leave in what no amphora uses")
    parser.add_argument("--ssh", action="store_true", help="with sshd, for keys only")
    parser.add_argument("--format", choices=("qcow2", "raw"), default="qcow2")
    parser.add_argument("--element", action="append", default=[], help="one more element, found on ELEMENTS_PATH")
    parser.add_argument("--output", type=Path, metavar="FILE")
    parser.add_argument("--no-cache", action="store_true", help="build the root file system anew")
    return parser


def build(options: Options, target: Path, *, force: bool = False) -> None:
    """Make the image, and beside it its packages, its bill of materials and SHA256SUMS of all three.

    Raises:
        CannotBuild: this machine lacks something, or a program failed; the words say what.
    """
    require_machine(options)
    when = epoch()
    tar = root_tar(options, force=force)
    lay_over = partial(gather, release=options.release, arch=options.arch)
    make_disk(tar, target, Layout(mib=DISK_MIB, arch=options.arch), when, lay_over)
    listing = tar.with_suffix(".packages").read_text()
    beside(target, "packages").write_text(listing)
    made = {"options": json.dumps(asdict(options)), "content": content_hash(options), "epoch": str(when)}
    packages: list[sbom.Package] = [*sbom.parse_dpkg(listing), *sbom.parse_lock(LOCK.read_text())]
    beside(target, "cdx.json").write_text(sbom.render(target.name, packages, made, when))
    write_sums(target, beside(target, "packages"), beside(target, "cdx.json"))


def beside(image: Path, kind: str) -> Path:
    """Return the name of a file that describes an image."""
    return image.with_name(f"{image.name}.{kind}")


def write_sums(*paths: Path) -> None:
    """Put the files into the SHA256SUMS of their directory, in place of older lines about them."""
    sums = paths[0].with_name("SHA256SUMS")
    names = {path.name for path in paths}
    lines = sums.read_text().splitlines() if sums.exists() else []
    kept = [line for line in lines if line.partition("  ")[2] not in names]
    sums.write_text("".join(f"{line}\n" for line in [*kept, *(f"{digest_of(path)}  {path.name}" for path in paths)]))


def require_machine(options: Options) -> None:
    """Raise CannotBuild with the one line that helps, when this machine cannot build."""
    if os.geteuid() != 0:
        raise CannotBuild("an image is built as root")
    if lacking := [*tools.missing(), *grub.missing_grub(options.arch)]:
        raise CannotBuild(f"programs are missing; apt-get install --no-install-recommends {' '.join(lacking)}")


def epoch() -> int:
    """Return the time that everything in the image has: SOURCE_DATE_EPOCH, or the last commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    git = ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(git, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return BASE_EPOCH


def root_tar(options: Options, *, force: bool) -> Path:
    """Return the root file system, from the cache when nothing that it is made of has changed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tar = CACHE / f"root-{base_hash(options)}.tar"
    listing = tar.with_suffix(".packages")
    if force or not listing.exists():
        # diskimage-builder's cache of packages is for one at a time.
        with alone(CACHE / "root"):
            if force or not listing.exists():
                _run_builder(options, tar)
                _forget_unused()
    tar.touch()
    return tar


def _forget_unused() -> None:
    """Remove the root file systems that no build has used for two weeks, a fifth of a gigabyte each."""
    for tar in CACHE.glob("root-*.tar"):
        if time.time() - tar.stat().st_mtime > KEPT_SECONDS:
            for path in CACHE.glob(f"{tar.stem}.*"):
                path.unlink()


def base_hash(options: Options) -> str:
    """Return a hash of what the root file system is made of before the agent is laid over it."""
    own = [name for name in options.element_names() if (BUILD / "elements" / name).is_dir()]
    files = [
        _BUILDER,
        *(path for name in own for path in _files(BUILD / "elements" / name) if TREE not in path.parents),
    ]
    mirrors = own_mirrors() | {name: os.environ[name] for name in _MIRRORS.values() if name in os.environ}
    return _hash(options, files, repr((BASE_EPOCH, sorted(mirrors.items()))))


def content_hash(options: Options) -> str:
    """Return a hash of the options and of every file of the checkout that goes into the image or decides about it."""
    return _hash(options, inputs(), "")


def inputs() -> Iterator[Path]:
    """Yield the files of the checkout that an image is made of, in order."""
    for name in _INPUTS:
        yield from _files(REPOSITORY / name)


def _files(place: Path) -> list[Path]:
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def _hash(options: Options, files: Iterable[Path], more: str) -> str:
    digest = hashlib.sha256(f"{options!r}\n{more}\n".encode())
    for path in files:
        digest.update(f"{path.relative_to(REPOSITORY)} {path.stat().st_mode:o}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run_builder(options: Options, tar: Path) -> None:
    log = CACHE / f"{tar.stem}.log"
    programs = _builder() / "bin"
    with tempfile.TemporaryDirectory(prefix="build.", dir=CACHE) as work:
        environment = _environment(options, Path(work), programs)
        command = [str(programs / "disk-image-create"), "-a", options.arch, "-n", "-t", "tar"]
        command += ["--image-size", "2", "--logfile", str(log), "-o", f"{work}/root", *options.element_names()]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise CannotBuild(
                f"disk-image-create: exit {done.returncode}; {log}\n{log.read_text(errors='replace')[-3000:]}"
            )
        Path(work, "root.tar").replace(tar)
    with tarfile.open(tar) as archive:
        status = archive.extractfile("./var/lib/dpkg/status")
        text = "" if status is None else status.read().decode()
    packages = sbom.parse_status(text)
    if names := lacking(options, {package.name for package in packages}):
        raise CannotBuild(f"not in the image, though an element wants it: {' '.join(sorted(names))}; {log}")
    tar.with_suffix(".packages").write_text(sbom.render_dpkg(packages))


def lacking(options: Options, installed: Collection[str]) -> set[str]:
    """Return the packages that this project's elements want in any case, without those that are installed."""
    places = (BUILD / "elements" / name / "package-installs.yaml" for name in options.element_names())
    names = (name for place in places if place.exists() for name in _UNCONDITIONAL.findall(place.read_text()))
    return set(names) - set(installed)


def _environment(options: Options, work: Path, programs: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    (work / "tmp").mkdir()
    own = {
        "AMPHORA_KERNEL": options.kernel,
        # Laid over afterwards, so that a change of the agent costs seconds.
        "AMPHORA_PAYLOAD": "later",
        "DIB_IMAGE_CACHE": str(CACHE / "dib"),
        "DIB_NO_TMPFS": "1",
        "DIB_RELEASE": options.release,
        "ELEMENTS_PATH": ":".join(filter(None, (str(BUILD / "elements"), os.environ.get("ELEMENTS_PATH")))),
        "PATH": f"{programs}:{tools.PATH}",
        "SOURCE_DATE_EPOCH": str(BASE_EPOCH),
        "TMP_DIR": str(work / "tmp"),
    }
    return own_mirrors() | kept | own


def own_mirrors() -> dict[str, str]:
    """Return where this machine's own apt gets Debian from, as diskimage-builder's variables; nothing if nowhere."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    mirrors: dict[str, str] = {}
    for uri in listing.split():
        kind = uri.rstrip("/").rpartition("/")[2]
        if kind in _MIRRORS:
            mirrors.setdefault(_MIRRORS[kind], uri)
    return mirrors


def _builder() -> Path:
    """Return the virtual environment with diskimage-builder in it, one for each Python that builds here."""
    wanted = f"{sys.version}\n{_BUILDER.read_text()}"
    place = CACHE / f"builder-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if not (place / "complete").exists():
        venv.create(place, clear=True, with_pip=True)
        pip(["--python", str(place / "bin/python"), "install", f"--requirement={_BUILDER}"])
        (place / "complete").touch()
    return place


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for whoever makes this, and hold others off meanwhile."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
