"""A Debian 13 tree made by debootstrap and kept between test runs; the programs of the tests run in copies of it.

    pristine_tree(name, suite, packages)   what debootstrap makes of a suite
    debian13_tree()                        the pristine tree: HAProxy 3.0, keepalived 2.3, systemd 257, Python 3.13
    haproxy32_tree()                       just HAProxy 3.2, from Debian's next release
    chroot([debian13_tree()], upper, argv) runs a command in a throwaway copy: what it writes lands in `upper`
    write_wrapper("/usr/sbin/haproxy", file)  a command that runs a program of the tree on this machine's own files
    agent_layer(repository)                what /opt/amphora-agent adds: a virtual environment with the dependencies

A "copy" is an overlay mount in a mount namespace of the one process that uses it, so it costs no time and
no room, and is gone with the process. Everything is kept below $AMPHORA_TEST_TREES, by default
/var/cache/amphora-agent-tests; removing that directory costs a minute at the next run, nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

DIRECTORY = Path(os.environ.get("AMPHORA_TEST_TREES", "/var/cache/amphora-agent-tests"))
SUITE = "trixie"
PYTHON = "3.13"
PACKAGES = (
    "curl",
    "dbus",
    "ethtool",
    "haproxy",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "keepalived",
    "kmod",
    "nftables",
    "procps",
    "python3",
    "python3-venv",
    "socat",
    "systemd",
    "systemd-sysv",
)
# What the distribution would start by itself and no amphora has.
MASKED = ("haproxy.service", "keepalived.service", "systemd-modules-load.service", "apt-daily.timer")
VENV = "/opt/amphora-agent"
DEBOOTSTRAP_SCRIPTS = Path("/usr/share/debootstrap/scripts")
COMMAND_SECONDS = 600.0
KEPT_SECONDS = 86400.0

_ENTER = """set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
directory=$2
shift 2
exec chroot "$directory/root" "$@"
"""


class CannotBuild(Exception):
    """The tree cannot be made or used on this machine; the message says why."""


def reason_against() -> str | None:
    """Return why this machine cannot run Debian trees, None when it can."""
    if os.geteuid() != 0:
        return "containers need root"
    for program in ("debootstrap", "systemd-nspawn", "unshare", "nsenter", "setpriv", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        _try_overlay()
    except CannotBuild as error:
        return f"no overlay file system below {DIRECTORY}: {error}"
    return None


def debian13_tree() -> Path:
    """Return the pristine tree; made on first use, in about a minute. Never write into it.

    Raises:
        CannotBuild: with the end of debootstrap's output.
    """
    return pristine_tree("debian13", SUITE, PACKAGES, MASKED)


def haproxy32_tree() -> Path:
    """Return a tree of Debian's next release with HAProxy 3.2 and what it needs; made on first use, in half a minute.

    Raises:
        CannotBuild: with the end of debootstrap's output.
    """
    return pristine_tree("debian14", "forky", ("haproxy",))


def pristine_tree(name: str, suite: str, packages: Sequence[str], masked: Sequence[str] = ()) -> Path:
    """Return a tree of the suite with these packages and what they need, kept under the name; never write into it.

    Raises:
        CannotBuild: with the end of debootstrap's output.
    """
    stamp = "\n".join((suite, *packages, *masked))
    with exclusive(name):
        tree = DIRECTORY / f"{name}-{_digest(stamp)}"
        if is_complete(tree, stamp):
            return tree
        remove_old(f"{name}-*")
        partial = DIRECTORY / f"{name}.partial"
        remove(partial)
        options = ["--variant=minbase", f"--include={','.join(packages)}"]
        # A suite that this machine's debootstrap is too old to know is made as sid is.
        script = [] if (DEBOOTSTRAP_SCRIPTS / suite).exists() else [str(DEBOOTSTRAP_SCRIPTS / "sid")]
        check(["debootstrap", *options, suite, str(partial), mirror(), *script])
        for unit in masked:
            (partial / "etc/systemd/system" / unit).symlink_to("/dev/null")
        # A set machine id makes this no first boot, at which systemd would enable every unit there is.
        (partial / "etc/machine-id").write_text(hashlib.sha256(b"amphora test tree").hexdigest()[:32] + "\n")
        for archive in (partial / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        complete(partial, tree, stamp)
        return tree


def write_wrapper(program: str, wrapper: Path) -> None:
    """Write a command that runs a program of the tree with the tree's libraries, but on this machine's own files.

    So a test can have HAProxy 3.0 in its namespaces and folders. The program sees the wrapper as its own name and
    may execute itself again, as HAProxy's master does to reload.

    Args:
        program: absolute path inside the tree.
        wrapper: file to write.

    Raises:
        CannotBuild: the tree cannot be made.
    """
    tree = debian13_tree()
    machine = os.uname().machine
    loader = next(iter(sorted(tree.glob(f"usr/lib/{machine}-linux-gnu/ld-linux-*.so.*"))))
    libraries = f"{tree}/usr/lib/{machine}-linux-gnu"
    command = f"exec {loader} --argv0 {wrapper} --library-path {libraries} {tree}{program}"
    wrapper.write_text(f'#!/bin/sh\n{command} "$@"\n')
    wrapper.chmod(0o755)


def agent_layer(repository: Path) -> Path:
    """Return a layer over `debian13_tree()` with the agent's dependencies; one is kept per list of dependencies.

    Raises:
        CannotBuild: with the end of pip's output.
    """
    base = debian13_tree()
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    stamp = "\n".join((PYTHON, *PACKAGES, *project["dependencies"]))
    with exclusive("agent-layer"):
        name = f"agent-layer-{_digest(stamp)}"
        layer = DIRECTORY / name
        if is_complete(layer, stamp):
            return layer
        remove_old("agent-layer-*")
        work = prepare(DIRECTORY / f"{name}.work")
        wheels = work / "upper/opt/wheels"
        wheels.mkdir(parents=True)
        download = ["download", "--quiet", f"--python-version={PYTHON}", "--only-binary=:all:", f"--dest={wheels}"]
        check([sys.executable, "-m", "pip", *download, *project["dependencies"]])
        chroot([base], work, ["python3", "-m", "venv", VENV])
        install_wheels([base], work, ["--requirement=/dev/stdin"], "\n".join(project["dependencies"]))
        remove(wheels)
        complete(work / "upper", layer, stamp)
        remove(work)
        return layer


def build_wheel(repository: Path, work: Path) -> None:
    """Build the repository's wheel into /opt/wheels of `work`; the repository is not written to.

    Raises:
        CannotBuild: with the end of pip's output.
    """
    source = work / "source"
    shutil.copytree(
        repository / "amphora_agent", source / "amphora_agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    if (repository / "docs/man").exists():
        shutil.copytree(repository / "docs/man", source / "docs/man")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (repository / name).exists():
            shutil.copy(repository / name, source)
        else:
            (source / name).touch()
    wheels = work / "upper/opt/wheels"
    check([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={wheels}", str(source)])
    remove(source)


def install_wheels(layers: Sequence[Path], work: Path, arguments: Sequence[str], stdin: str = "") -> None:
    """Run pip of the virtual environment in the tree, offline, on the wheels in /opt/wheels of `work`."""
    options = ["--quiet", "--no-index", "--find-links=/opt/wheels"]
    chroot(layers, work, [f"{VENV}/bin/pip", "install", *options, *arguments], stdin)


def prepare(work: Path) -> Path:
    """Make the empty directories a copy needs and return their parent, `work`."""
    remove(work)
    for name in ("upper", "work", "root"):
        (work / name).mkdir(parents=True)
    return work


def chroot(layers: Sequence[Path], work: Path, argv: Sequence[str], stdin: str = "") -> str:
    """Run a command in a copy of the layers, the first one on top; what it writes lands in `work/upper`.

    Returns: standard output and error.

    Raises:
        CannotBuild: it failed; with the end of its output.
    """
    lower = ":".join(str(layer) for layer in layers)
    return check(["unshare", "--mount", "sh", "-c", _ENTER, "enter", lower, str(work), *argv], stdin)


def mirror() -> str:
    """Return where this machine's own apt gets Debian from."""
    for uri, release in repositories():
        if uri.rstrip("/").endswith("/debian") and "-" not in release:
            return uri
    raise CannotBuild("apt knows no Debian mirror on this machine")


def repositories() -> list[tuple[str, str]]:
    """Return the address and the release of each repository that this machine's own apt knows, each once."""
    listing = check(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    pairs = (line.partition(" ") for line in listing.splitlines())
    return list(dict.fromkeys((uri, release) for uri, _, release in pairs))


def check(argv: Sequence[str], stdin: str = "") -> str:
    """Run a command on this machine and return its output; CannotBuild with the end of it when it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(argv[:6])} ...: exit {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Let one process at a time build what `name` stands for."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_complete(tree: Path, stamp: str) -> bool:
    """Tell whether a kept tree is there and was made of what the stamp says."""
    marker = tree.with_name(f"{tree.name}.complete")
    return tree.is_dir() and marker.exists() and marker.read_text() == stamp


def complete(partial: Path, tree: Path, stamp: str) -> None:
    """Put a tree that is ready in its place."""
    marker = tree.with_name(f"{tree.name}.complete")
    marker.unlink(missing_ok=True)
    remove(tree)
    partial.rename(tree)
    marker.write_text(stamp)


def _try_overlay() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DIRECTORY) as name:
        work = prepare(Path(name) / "copy")
        options = f"lowerdir={work},upperdir={work}/upper,workdir={work}/work"
        check(["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{work}/root"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def remove_old(pattern: str) -> None:
    """Remove what nobody has looked into for a day; a younger one may be another run's."""
    for path in DIRECTORY.glob(pattern):
        if time.time() - path.stat().st_mtime > KEPT_SECONDS:
            remove(path)


def remove(path: Path) -> None:
    """Remove a tree or a file; nothing there is fine."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
