"""A Debian as its installer leaves it, to try there what the README promises; never changes this machine.

    with Installation("trixie") as debian:
        debian.run(["git", "clone", debian.REMOTE, "amphora-agent"])
        with debian.started(["playground/run"], cwd="/root/amphora-agent") as command:
            command.read_until("Build the networks")
            command.interrupt()

It is a copy of a debootstrap tree with mounts and processes of its own. It uses this machine's network, since a user
installs packages; where apt and pip get them from is copied from this machine when it starts. Packages once downloaded
are kept between test runs. The tree and all that runs in it die with the process that started it, by whatever end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from testbed.namespaces import unique
from testbed.waiting import wait_for
from tests.container import debian
from tests.container.machine import remove_leftovers

REPOSITORY = Path(__file__).parents[2]
# What a fresh machine has: the README asks for git and Python, and pip trusts the certificates.
PACKAGES = ("ca-certificates", "git", "python3", "python3-venv")
REMOTE = "/srv/amphora-agent.git"
HOME = "/root"
PIP_CACHE = f"{HOME}/.cache/pip"
ARCHIVES = "var/cache/apt/archives"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What this machine tells its clients of the network, taken along: the names of variables and of apt's options.
_VARIABLES = re.compile(r"PIP_\w+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
_APT_OPTIONS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv")
_LOCAL_PATH = re.compile(r"(?:file://|(?<![\w/:.]))(/[\w./+-]+)")

_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# The first process reaps what others leave behind, as an init does. A mere chroot would not do: who enters a mount
# namespace made in it, as the playground does, is outside again. `volatile` syncs nothing to the disk: each sync of the
# agent would wait for all that dpkg and pip have just written.
_START = """set -e
root=$2/root
mount -t overlay overlay -o "volatile,lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
shift 2
while [ $# -gt 0 ]; do
    mkdir -p "$root/$3"
    mount -o "bind,$1" "$2" "$root/$3"
    shift 3
done
cd "$root"
pivot_root . mnt
exec chroot . bash -c 'umount --lazy /mnt; touch /run/started; sleep infinity & wait'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended: its exit code, what it printed (output and errors are one text) and how long it took."""

    code: int
    output: str
    seconds: float


@dataclass(slots=True)
class Command:
    """A command that runs on the installation, in a session of its own as behind a terminal."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def read_until(self, text: str, *, seconds: float) -> None:
        """Wait until the command has printed a text; AssertionError with its output when it ends before."""
        wait_for(
            lambda: text in self.output or self.process.poll() is not None, f"{text!r} in {self.log}", seconds=seconds
        )
        assert text in self.output, f"never printed {text!r}:\n{self.output}"

    def interrupt(self) -> None:
        """Send what Ctrl-C sends, to all that the terminal would send it to."""
        os.killpg(_only_child(self.process.pid), signal.SIGINT)

    def wait(self, seconds: float) -> Outcome:
        """Wait for its end; AssertionError with its output when it takes longer."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still runs after {seconds:g} s:\n{self.output}") from error
        return Outcome(code=code, output=self.output, seconds=time.monotonic() - self.began)


@dataclass(slots=True)
class Installation:
    """One fresh Debian; a context manager that leaves nothing behind on exit.

    Args:
        suite: Debian's code name.
    """

    suite: str

    directory: Path = field(init=False)
    _init: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _leader: int = field(init=False, default=0)

    def __enter__(self) -> Self:
        remove_leftovers()
        tree = debian.pristine_tree(f"fresh-{self.suite}", self.suite, PACKAGES)
        self.directory = debian.prepare(debian.DIRECTORY / "runs" / f"{os.getpid()}-{unique('fresh')}")
        try:
            self._furnish(tree)
            self._start(tree)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._keep_archives()
        self.close()

    def close(self) -> None:
        """End every process of the installation and remove all of it; harmless when repeated."""
        if self._init is not None:
            self._init.kill()
            self._init.wait(30)
            self._init = None
        shutil.rmtree(self.directory, ignore_errors=True)

    # On it

    @property
    def root(self) -> Path:
        """Its file system, as this machine sees it while it runs."""
        return Path(f"/proc/{self._leader}/root")

    def run(self, argv: Sequence[str], *, cwd: str = HOME, seconds: float = 120.0) -> Outcome:
        """Run a command to its end."""
        with self.started(argv, cwd=cwd) as command:
            return command.wait(seconds)

    @contextlib.contextmanager
    def started(self, argv: Sequence[str], *, cwd: str = HOME) -> Iterator[Command]:
        """Start a command and, in the end, make sure that it is over."""
        enter = ("nsenter", f"--target={self._leader}", "--mount", "--pid", "--root", f"--wd={self.root}{cwd}")
        # A shell's background job, as tests/run may be, has Ctrl-C ignored; a user's command has not.
        session = ("setsid", "--wait", "env", "--default-signal=INT,HUP")
        log = self.directory / unique("log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*enter, "--", *session, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_network_variables(), "HOME": HOME, "LANG": "C.UTF-8", "PATH": PATH, "TERM": "dumb"},
            )
        try:
            yield Command(process, log)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ValueError, ProcessLookupError):  # it ended meanwhile
                    os.killpg(_only_child(process.pid), signal.SIGKILL)
                process.wait(10)

    def processes(self) -> dict[int, str]:
        """Return pid on this machine -> command line of all that runs but the first process and its child."""
        own = (self.root.parent / "ns/pid").stat().st_ino
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (place / "ns/pid").stat().st_ino == own:
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        for pid in (self._leader, _only_child(self._leader)):
            found.pop(pid, None)
        return found

    # Making it

    def _furnish(self, tree: Path) -> None:
        """Write what an installer would have asked for: where packages come from, names, and who is trusted."""
        upper = self.directory / "upper"
        _write(upper / "etc/apt/sources.list", _sources(tree, self.suite))
        options = [line for line in debian.check(["apt-config", "dump"]).splitlines() if line.startswith(_APT_OPTIONS)]
        _write(upper / "etc/apt/apt.conf.d/90network", "\n".join(options) + "\n")
        for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), *_pip_files()):
            _write(upper / file.relative_to("/"), file.read_text())
        (upper / ARCHIVES).mkdir(parents=True)
        for archive in self._archives().glob("*.deb"):
            os.link(archive, upper / ARCHIVES / archive.name)
        (upper / "srv").mkdir()
        _clone(upper / REMOTE.lstrip("/"))

    def _start(self, tree: Path) -> None:
        cache = debian.DIRECTORY / "pip-cache"
        cache.mkdir(exist_ok=True)
        mounts = ["rw", str(cache), PIP_CACHE]
        for place in _pip_directories():
            mounts += ["ro", str(place), str(place)]
        script = ["sh", "-c", _START, "start", str(tree), str(self.directory), *mounts]
        with (self.directory / "console.log").open("wb") as console:
            self._init = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, *script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        wait_for(self._has_started, f"the installation to start: see {self.directory}/console.log")

    def _has_started(self) -> bool:
        assert self._init is not None
        assert self._init.poll() is None, (self.directory / "console.log").read_text()
        try:
            self._leader = _only_child(self._init.pid)
        except ValueError:
            return False
        return (self.root / "run/started").exists()

    def _archives(self) -> Path:
        directory = debian.DIRECTORY / f"archives-{self.suite}"
        directory.mkdir(exist_ok=True)
        return directory

    def _keep_archives(self) -> None:
        """Keep the packages that were downloaded; those that Debian has replaced meanwhile go."""
        self.run(["apt-get", "autoclean"])
        ours = {archive.name: archive for archive in (self.directory / "upper" / ARCHIVES).glob("*.deb")}
        kept = {archive.name: archive for archive in self._archives().glob("*.deb")}
        for name in kept.keys() - ours.keys():
            kept[name].unlink(missing_ok=True)
        for name in ours.keys() - kept.keys():
            with contextlib.suppress(FileExistsError):
                os.link(ours[name], self._archives() / name)


def _sources(tree: Path, suite: str) -> str:
    """Return apt's list of this machine's Debian repositories, for another release of it."""
    own = next(release for uri, release in debian.repositories() if uri == debian.mirror())
    trusted = next(tree.glob("usr/share/keyrings/debian-archive-keyring.*"))
    lines = [
        f"deb [signed-by=/{trusted.relative_to(tree)}] {uri} {suite}{release.removeprefix(own)} main"
        for uri, release in debian.repositories()
        if release.partition("-")[0] == own and "/debian" in uri
    ]
    return "\n".join(lines) + "\n"


def _clone(remote: Path) -> None:
    """Put the repository there with what this checkout has changed in files that git knows, as its newest commit."""
    debian.check(["git", "clone", "--quiet", "--bare", f"file://{REPOSITORY}", str(remote)])
    changes = debian.check(["git", "-C", str(REPOSITORY), "diff", "--binary", "HEAD"])
    if changes:
        with contextlib.ExitStack() as stack:
            work = remote.with_suffix(".work")
            stack.callback(shutil.rmtree, work)
            debian.check(["git", "clone", "--quiet", str(remote), str(work)])
            debian.check(["git", "-C", str(work), "apply", "--index"], changes)
            author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
            debian.check(["git", "-C", str(work), *author, "commit", "--quiet", "--message=Changes not committed"])
            debian.check(["git", "-C", str(work), "push", "--quiet", "origin", "HEAD"])


def _network_variables() -> Mapping[str, str]:
    return {key: value for key, value in os.environ.items() if _VARIABLES.fullmatch(key)}


def _pip_configuration() -> list[Path]:
    listing = debian.check([sys.executable, "-m", "pip", "config", "debug"])
    return [Path(line.split(",")[0].strip()) for line in listing.splitlines() if line.endswith("exists: True")]


def _pip_paths() -> list[Path]:
    """Return what pip's configuration names on this machine's disk: constraints, certificates, wheels."""
    texts = [path.read_text() for path in _pip_configuration()] + list(_network_variables().values())
    named = {Path(name) for text in texts for name in _LOCAL_PATH.findall(text)}
    return sorted(path for path in named if path.exists())


def _pip_files() -> list[Path]:
    return [*_pip_configuration(), *(path for path in _pip_paths() if path.is_file())]


def _pip_directories() -> list[Path]:
    """Return the directories; of a simple index also what its links lead to, which lies beside it."""
    found = (path for path in _pip_paths() if path.is_dir())
    return sorted({path.parent if path.name == "simple" else path for path in found})


def _only_child(pid: int) -> int:
    """Return the one child of a process; ValueError when it has none or several."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
