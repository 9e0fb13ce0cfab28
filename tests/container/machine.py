"""A Debian 13 machine in a container: systemd as pid 1, the agent installed from its wheel, network cables to plug.

    with Machine() as machine:
        machine.boot()
        machine.exec(["systemctl", "is-system-running"])
        net = machine.network("net")                                # a namespace at the far end of cables
        machine.add_nic("fa:16:3e:00:00:02", net, "10.20.0.1/24")   # hot-plugged
        machine.reboot()                                            # the same disk; NICs enumerate in another order

What belongs to one machine, named uniquely, so that several may run:

    client (namespace)  192.0.2.1 ---- 192.0.2.2  root namespace of the container: agent, NICs not yet plugged
    far networks        whatever the test calls for, at the other end of each NIC
    directory           <trees>/runs/<pid>-<name>: what the machine wrote to its disk

The container dies with the process that started it, by whatever end; its mounts are in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import ssl
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from testbed.amphora import Reply, ask
from testbed.namespaces import Namespace, ip_batch, unique
from testbed.pki import Pki, client_context
from testbed.waiting import wait_for
from tests.container import debian

REPOSITORY = Path(__file__).parents[2]
AMPHORA_ID = "badf474f-b45d-5d8b-80bb-35dbe5e8281e"
CLIENT_ADDRESS = "192.0.2.1"
ADDRESS = "192.0.2.2"
AGENT_PORT = 9443
HEARTBEAT_PORT = 5555
HEARTBEAT_KEY = "insecure"
BOOT_SECONDS = 30.0
HALT_SECONDS = 30.0

CONFIG = f"""[haproxy_amphora]
bind_host = {ADDRESS}
[health_manager]
controller_ip_port_list = {CLIENT_ADDRESS}:{HEARTBEAT_PORT}
heartbeat_interval = 1
heartbeat_key = {HEARTBEAT_KEY}
[amphora_agent]
amphora_id = {AMPHORA_ID}
agent_server_ca = /etc/octavia/certs/client_ca.pem
agent_server_cert = /etc/octavia/certs/server.pem
[controller_worker]
loadbalancer_topology = SINGLE
"""

# A small machine, or the controller would size TLS caches for the host's memory.
_MEMINFO = {"MemTotal": 1006528, "MemFree": 611264, "MemAvailable": 803840, "Buffers": 20480, "Cached": 225280}
_MEMINFO |= {"SwapCached": 0, "SwapTotal": 0, "SwapFree": 0, "Shmem": 1024, "Slab": 40960}

# Its own process namespace ends with unshare(1), and that with the test run; nspawn alone would leave systemd behind.
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

# systemd 257 wants version 2 of cgroups, whatever the host has; the mount is this process's own.
_BOOT = """set -e
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount --lazy /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --directory="$2/root" --boot --machine="$3" --network-namespace-path="/run/netns/$4" \
    --capability=all --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off
"""


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC of the machine, and what its far end looks like."""

    mac: str
    far: Namespace
    addresses: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Machine:
    """One machine; a context manager that installs it on entry and leaves nothing behind on exit.

    Args:
        units: names of the shipped units that are enabled; every shipped unit is installed.
        config: the agent's configuration file, None for a machine to which nothing was delivered yet.
        shuffle: order and names in which NICs appear at boot.
        below: layers between the agent's and the Debian tree.
    """

    units: Sequence[str] = ("amphora-agent.service",)
    config: str | None = CONFIG
    shuffle: random.Random = field(default_factory=random.Random)
    below: Sequence[Path] = ()

    name: str = field(init=False)
    directory: Path = field(init=False)
    client: Namespace = field(init=False)
    root: Namespace = field(init=False)
    context: ssl.SSLContext = field(init=False)
    boot_started: float = field(init=False, default=0.0)
    boot_seconds: float = field(init=False, default=0.0)
    _layers: tuple[Path, ...] = field(init=False)
    _container: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _leader: int = field(init=False, default=0)
    _nics: list[Nic] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        remove_leftovers()
        self.name = unique("machine")
        self._layers = (debian.agent_layer(REPOSITORY), *self.below, debian.debian13_tree())
        self.directory = debian.prepare(debian.DIRECTORY / "runs" / f"{os.getpid()}-{self.name}")
        try:
            self._install()
            self._connect_management()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Its life

    def boot(self) -> None:
        """Start the machine and wait until systemd has started all it means to start.

        `boot_started` is the monotonic time at the start, `boot_seconds` how long it took.
        """
        assert self._container is None, "the machine runs already"
        nics = list(self._nics)
        self.shuffle.shuffle(nics)
        for nic, number in zip(nics, self.shuffle.sample(range(1000, 10000), len(nics)), strict=True):
            _cable(self.root, nic, f"ens{number}")
        lower = ":".join(str(layer) for layer in self._layers)
        script = ["sh", "-c", _BOOT, "boot", lower, str(self.directory), self.name, self.root.name]
        with (self.directory / "console.log").open("ab") as console:
            self.boot_started = time.monotonic()
            self._container = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *_UNSHARE, *script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.wait_for(self._has_booted, BOOT_SECONDS, "the machine to boot")
        self.boot_seconds = time.monotonic() - self.boot_started

    def power_off(self) -> None:
        """Shut the machine down in order; its disk stays. A machine that does not end in time is an error."""
        if self._container is not None:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.exec(["systemctl", "poweroff", "--no-block"])
            self._container.wait(HALT_SECONDS)
            self._container = None

    def cut_power(self) -> None:
        """End every process of the machine at once; its disk stays."""
        if self._container is not None:
            self._container.kill()
            self._container.wait(HALT_SECONDS)
            self._container = None

    def reboot(self) -> None:
        """Shut down and boot again; the NICs are back, in another order and under other names."""
        self.power_off()
        self.boot()

    def close(self) -> None:
        """End the machine and remove all of it; harmless when repeated."""
        self.cut_power()
        _remove_run(self.directory)

    # Inside it

    def exec(self, argv: Sequence[str], *, timeout: float = 60.0, stdin: str = "") -> str:
        """Run a program on the machine and return its output; a failure raises CalledProcessError."""
        done = self.try_exec(argv, timeout=timeout, stdin=stdin)
        done.check_returncode()
        return done.stdout

    def try_exec(
        self, argv: Sequence[str], *, timeout: float = 60.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the machine and return how it ended; output and errors are one text."""
        return subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "--", *argv],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            check=False,
        )

    def python(self, script: str, *, timeout: float = 60.0) -> str:
        """Run a script with the agent's own Python on the machine and return its output."""
        return self.exec([f"{debian.VENV}/bin/python", "-"], stdin=script, timeout=timeout)

    def unit_property(self, unit: str, name: str) -> str:
        """Return one property of a unit as `systemctl show` prints it."""
        return self.exec(["systemctl", "show", "--value", f"--property={name}", unit]).strip()

    def main_pid(self, unit: str) -> int:
        """Return the main process of a unit in the machine's own numbering, 0 when there is none."""
        return int(self.unit_property(unit, "MainPID") or 0)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file on the machine's disk, running or not; nobody sees half of it."""
        target = self.disk / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.touch(mode=mode)
        partial.write_text(text)
        partial.chmod(mode)
        partial.replace(target)

    def journal(self, *options: str) -> str:
        """Return the journal of the current boot, or the part that options of journalctl pick."""
        return self.try_exec(["journalctl", "--no-pager", "--boot", "--output=short-monotonic", *options]).stdout

    @property
    def leader(self) -> int:
        """The machine's pid 1 in the numbering of this one."""
        return self._leader

    @property
    def disk(self) -> Path:
        """The machine's root directory while it runs, what was written to it while it does not."""
        return Path(f"/proc/{self._leader}/root") if self._container else self.directory / "upper"

    # Around it

    def network(self, prefix: str, *addresses: str) -> Namespace:
        """Return a new namespace for the far end of NICs; it goes when the machine goes."""
        namespace = Namespace.create(prefix)
        with (self.directory / "namespaces").open("a") as names:
            names.write(f"{namespace.name}\n")
        namespace.ip(*(f"address add {address} dev lo" for address in addresses))
        return namespace

    def add_nic(self, mac: str, far: Namespace, *addresses: str) -> None:
        """Plug a NIC, at once if the machine runs, and at every boot from now on; the far end gets the addresses."""
        nic = Nic(mac, far, addresses)
        self._nics.append(nic)
        if self._container is not None:
            _cable(self.root, nic, unique("ens"))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        document: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Reply:
        """Ask the agent over mutual TLS, as the controller does, on a connection of its own."""
        connection = http.client.HTTPSConnection(ADDRESS, AGENT_PORT, timeout=timeout, context=self.context)
        plain = self.client.connect(ADDRESS, AGENT_PORT, timeout=timeout)
        with contextlib.closing(connection), contextlib.closing(plain):
            connection.sock = self.context.wrap_socket(plain, server_hostname=AMPHORA_ID)
            return ask(connection, method, path, body, document=document, headers=headers)

    def wait_for_agent(self, seconds: float = 15.0) -> None:
        """Wait until the agent answers the controller's first question."""
        self.wait_for(self._agent_answers, seconds, "the agent's answer")

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Poll until the condition holds; NotInTime with the end of journal and console when it does not."""

        def story() -> str:
            console = (self.directory / "console.log").read_text(errors="replace")[-2000:]
            return f"{what}\n{console}\n{self.journal()[-4000:]}"

        wait_for(condition, story, seconds=seconds)

    def _agent_answers(self) -> bool:
        try:
            return bool(self.request("GET", "/", timeout=2).json() == {"api_version": "1.0"})
        except OSError:
            return False

    def _has_booted(self) -> bool:
        assert self._container is not None
        if self._container.poll() is not None:
            raise RuntimeError((self.directory / "console.log").read_text(errors="replace")[-4000:])
        nspawn = _children(self._container.pid)
        if not nspawn or Path(f"/proc/{nspawn[0]}/comm").read_text() != "systemd-nspawn\n":
            return False
        leader = _children(nspawn[0])
        if not leader:
            return False
        self._leader = leader[0]
        state = self.try_exec(["systemctl", "is-system-running"]).stdout.strip()
        return state in {"running", "degraded"}

    def _connect_management(self) -> None:
        self.client, self.root = self.network("ctl"), self.network("amp")
        ip_batch([f"link add mgmt netns {self.client.name} type veth peer name eth0 netns {self.root.name}"])
        for namespace, name, address in ((self.client, "mgmt", CLIENT_ADDRESS), (self.root, "eth0", ADDRESS)):
            namespace.ip(f"address add {address}/24 dev {name}", f"link set {name} up")

    def _install(self) -> None:
        self._cover("proc-meminfo", "".join(f"{key}: {value:>12} kB\n" for key, value in _MEMINFO.items()))
        self._cover("sys-bus-pci-rescan", "")
        debian.build_wheel(REPOSITORY, self.directory)
        debian.install_wheels(self._layers, self.directory, ["--no-deps", "amphora-agent"])
        for unit in (REPOSITORY / "systemd").glob("*.service"):
            self.write(f"/usr/lib/systemd/system/{unit.name}", unit.read_text())
        local = self.directory / "upper/usr/local/bin"
        local.mkdir(parents=True)
        for command in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]:
            (local / command).symlink_to(f"{debian.VENV}/bin/{command}")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost {self.name}\n::1 localhost {self.name}\n")
        self.write("/etc/resolv.conf", "")
        self.write("/var/lib/octavia/haproxy-default-user-group.conf", "global\n    group nogroup\n")
        pki = Pki.mint(AMPHORA_ID)
        pki.write(self.directory)
        self.context = client_context(self.directory / "ca.pem", self.directory / "client.pem")
        self.write("/etc/octavia/certs/client_ca.pem", pki.ca.decode(), 0o600)
        self.write("/etc/octavia/certs/server.pem", pki.server.decode(), 0o600)
        if self.config is not None:
            self.write("/etc/octavia/amphora-agent.conf", self.config, 0o600)
        if self.units:
            debian.chroot(self._layers, self.directory, ["systemctl", "--quiet", "enable", *self.units])

    def _cover(self, unit: str, text: str) -> None:
        """Have the machine see `text` in place of a file of the kernel's; the unit's name is the file's path."""
        source, target = f"/opt/machine/{unit}", "/" + unit.replace("-", "/")
        self.write(source, text)
        mount = f"[Unit]\nDefaultDependencies=no\n[Mount]\nWhat={source}\nWhere={target}\nType=none\nOptions=bind\n"
        self.write(f"/etc/systemd/system/{unit}.mount", mount)
        wants = self.directory / "upper/etc/systemd/system/sysinit.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / f"{unit}.mount").symlink_to(f"../{unit}.mount")


def _cable(root: Namespace, nic: Nic, name: str) -> None:
    far_name = unique("far")
    root.ip(f"link add {name} address {nic.mac} type veth peer name {far_name} netns {nic.far.name}")
    nodad = (f"address add {address} dev {far_name}{' nodad' if ':' in address else ''}" for address in nic.addresses)
    nic.far.ip(f"link set {far_name} up", *nodad)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def remove_leftovers() -> None:
    """Remove the disks and namespaces of machines whose test run was killed before it could."""
    for run in _runs():
        owner = run.name.partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove_run(run)


def _runs() -> Iterator[Path]:
    directory = debian.DIRECTORY / "runs"
    return directory.iterdir() if directory.is_dir() else iter(())


def _remove_run(run: Path) -> None:
    names = run / "namespaces"
    for name in names.read_text().split() if names.exists() else ():
        Namespace(name).close()
    shutil.rmtree(run, ignore_errors=True)
    name = run.name.partition("-")[2]
    # nspawn cannot remove these where /run is no file system of its own.
    for kind in ("propagate", "unix-export"):
        shutil.rmtree(Path("/run/systemd/nspawn") / kind / name, ignore_errors=True)
