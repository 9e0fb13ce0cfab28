"""A virtual machine with a kernel of its own, emulated by QEMU: an amphora with IPVS, SCTP and a power button.

    with VirtualMachine() as machine:
        machine.boot()
        machine.exec(["ipvsadm", "-Ln"])                     # any command, as root, inside
        flood = machine.begin(["python3", "/opt/image-tests/udp_flood.py", ...])
        machine.request("GET", "/1.0/info")                  # the agent, over mutual TLS, from outside
        machine.heartbeats.receive()                         # what the controller hears
        print(flood.finish())
        machine.reboot()

Inside (see guest/): the namespaces `client` (10.10.0.1, 2001:db8:10::1) and `members` (10.20.0.11 to .30,
2001:db8:20::11 to ::30) and a NIC towards each, VIP_MAC and MEMBER_MAC, as yet unplugged. Outside, all is on the
loopback: free ports of it are forwarded by QEMU into the machine, which finds the host's loopback at GATEWAY.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from testbed.amphora import AMPHORA_ID, HEARTBEAT_KEY, Reply, ask
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.pki import Pki, client_context
from tests.container import debian
from tests.image import disk

VIP_MAC = "fa:16:3e:00:00:01"
MEMBER_MAC = "fa:16:3e:00:00:02"
MANAGEMENT_MAC = "52:54:00:00:00:01"
GATEWAY = "10.0.2.2"
AGENT_PORT = 9443
COMMAND_PORT = 7000
# An unchanged machine took 26 s when quiet and 60 s under load.
BOOT_SECONDS = 180.0
# For one test at most; the first one also makes and boots the machine.
TEST_SECONDS = 900.0

# The emulator comes from the Debian 13 tree; what it reads and writes is at /mnt there.
_EMULATE = """set -e
root=$2/root work=$2
mount -t overlay overlay -o "lowerdir=$1" "$root"
mount --bind "$work" "$root/mnt"
shift 2
exec chroot "$root" "$@"
"""
# No AVX and nothing else that is slow to emulate.
_CPU = "qemu64"
# What an amphora needs for its work, and not a second longer.
_MASKED = (
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-logind.service",
    "systemd-user-sessions.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "ldconfig.service",
    "apt-daily-upgrade.timer",
)
_KERNEL_LINE = "root=/dev/vda rw console=ttyS0 loglevel=4 panic=-1 mitigations=off"


class CommandFailed(Exception):
    """A command inside the machine ended with another code than 0."""


class Running:
    """A command at work inside the machine; closing it ends the command."""

    def __init__(self, connection: socket.socket, argv: Sequence[str]) -> None:
        self._connection, self._argv = connection, argv

    def finish(self, *, timeout: float = 60.0) -> str:
        """Wait for the end and return the output.

        Raises:
            CommandFailed: the exit code is not 0; with the output.
            TimeoutError: it goes on for longer than `timeout`.
        """
        code, output = self.outcome(timeout=timeout)
        if code != 0:
            raise CommandFailed(f"{self._argv}: exit {code}\n{output}")
        return output

    def outcome(self, *, timeout: float = 60.0) -> tuple[int, str]:
        """Wait for the end and return the exit code and what was printed, errors included."""
        self._connection.settimeout(timeout)
        with self._connection, self._connection.makefile("rb") as stream:
            line = stream.readline()
        if not line:
            raise ConnectionError(f"the machine is gone while it ran {self._argv}")
        answer = json.loads(line)
        return int(answer["code"]), str(answer["output"])

    def close(self) -> None:
        """End the command if it runs still."""
        self._connection.close()


@dataclass(slots=True, kw_only=True)
class VirtualMachine:
    """One machine; a context manager that makes its disk on entry and leaves nothing behind on exit.

    `boot_seconds` is how long the last boot took until commands were accepted, `boot_count` how often it booted.
    """

    directory: Path = field(init=False)
    context: ssl.SSLContext = field(init=False)
    heartbeats: HeartbeatReceiver = field(init=False)
    boot_seconds: float = field(init=False, default=0.0)
    disk_seconds: float = field(init=False, default=0.0)
    _disk: disk.Disk = field(init=False)
    _ports: dict[int, int] = field(init=False, default_factory=dict)
    _qemu: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        began = time.monotonic()
        self.heartbeats = _listen_for_heartbeats()
        self.directory = debian.prepare(debian.DIRECTORY / "runs" / f"{os.getpid()}-image")
        try:
            pki = Pki.mint(AMPHORA_ID)
            pki.write(self.directory)
            self.context = client_context(self.directory / "ca.pem", self.directory / "client.pem")
            self._disk = disk.make(self.directory, self.config(), pki)
        except BaseException:
            self.close()
            raise
        self.disk_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def config(self) -> str:
        """Return the agent's configuration file."""
        port = self.heartbeats.socket.getsockname()[1]
        return f"""[health_manager]
controller_ip_port_list = {GATEWAY}:{port}
heartbeat_interval = 1
heartbeat_key = {HEARTBEAT_KEY}
[amphora_agent]
amphora_id = {AMPHORA_ID}
[controller_worker]
loadbalancer_topology = SINGLE
"""

    # Its life

    def boot(self) -> None:
        """Switch it on and wait until it takes commands."""
        assert self._qemu is None, "the machine runs already"
        began = time.monotonic()
        self._ports = {inside: _free_port() for inside in (COMMAND_PORT, AGENT_PORT)}
        with (self.directory / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._emulator()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for(self._boot_id, BOOT_SECONDS, "the machine to boot")
        self.boot_seconds = time.monotonic() - began

    def reboot(self) -> None:
        """Shut it down in order, start it again and wait until it takes commands."""
        self._restart(self._order_reboot)

    def cut_power(self) -> None:
        """Press the reset button: what is not on the disk is lost. Waits until it takes commands again."""
        self._restart(self._reset)

    def close(self) -> None:
        """Switch it off and remove all of it; harmless when repeated."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait(10)
            self._qemu = None
        self.heartbeats.socket.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Inside it

    def exec(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> str:
        """Run a command as root and return its output; CommandFailed when it fails."""
        return self.begin(argv, stdin=stdin, timeout=timeout).finish(timeout=timeout + 5)

    def begin(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 600.0) -> Running:
        """Start a command as root; it is ended after `timeout` seconds."""
        connection = socket.create_connection(("127.0.0.1", self._ports[COMMAND_PORT]), timeout=10)
        connection.sendall(json.dumps({"argv": list(argv), "stdin": stdin, "timeout": timeout}).encode() + b"\n")
        return Running(connection, argv)

    def inside(self, namespace: str, argv: Sequence[str], *, timeout: float = 60.0) -> str:
        """Run a command in a network namespace of the machine and return its output."""
        return self.exec(["ip", "netns", "exec", namespace, *argv], timeout=timeout)

    def write(self, path: str, text: str) -> None:
        """Put a file on the machine."""
        self.exec(["sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1"', "write", path], stdin=text)

    def journal(self, *options: str) -> str:
        """Return the journal of the current boot, or the part that options of journalctl pick."""
        return self.exec(["journalctl", "--no-pager", "--boot", "--output=short-monotonic", *options])

    @property
    def console(self) -> str:
        """All that was printed on the serial console so far, kernel messages included."""
        path = self.directory / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # Around it

    @property
    def agent_port(self) -> int:
        """The port of this machine's loopback behind which the agent is; another one after each boot."""
        return self._ports[AGENT_PORT]

    def connect(self, *, timeout: float = 60.0) -> http.client.HTTPSConnection:
        """Return a connection to the agent, for `ask`; the caller closes it."""
        plain = socket.create_connection(("127.0.0.1", self.agent_port), timeout=timeout)
        connection = http.client.HTTPSConnection("127.0.0.1", timeout=timeout, context=self.context)
        try:
            connection.sock = self.context.wrap_socket(plain, server_hostname=AMPHORA_ID)
        except BaseException:
            plain.close()
            raise
        return connection

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
        with contextlib.closing(self.connect(timeout=timeout)) as connection:
            return ask(connection, method, path, body, document=document, headers=headers)

    def agent_answers(self) -> bool:
        """Return whether the agent takes requests."""
        try:
            return self.request("GET", "/", timeout=10).status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Poll until the condition holds; TimeoutError with the end of the console when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s for {what}\n{self.console[-3000:]}")
            time.sleep(0.1)

    # Its insides

    def _emulator(self) -> Iterator[str]:
        masks = " ".join(f"systemd.mask={unit}" for unit in _MASKED)
        forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{out}-:{inside}" for inside, out in self._ports.items())
        layers = f"{disk.emulator_layer()}:{debian.debian13_tree()}"
        yield from ("unshare", "--mount", "sh", "-c", _EMULATE, "emulate", layers, str(self.directory))
        yield from ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none")
        yield from ("-accel", "tcg,thread=multi", "-cpu", _CPU, "-smp", "2", "-m", "1024")
        yield from ("-kernel", f"/mnt/{self._disk.kernel}", "-initrd", f"/mnt/{self._disk.initrd}")
        yield from ("-append", f"{_KERNEL_LINE} {masks}")
        yield from ("-drive", f"file=/mnt/{self._disk.image},if=none,id=root,format=raw,cache=unsafe")
        yield from ("-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci")
        yield from ("-netdev", f"user,id=management,ipv6=off,{forwards}")
        yield from ("-device", f"virtio-net-pci,netdev=management,mac={MANAGEMENT_MAC}")
        yield from ("-serial", "file:/mnt/console.log", "-qmp", "unix:/mnt/qmp,server=on,wait=off")

    def _boot_id(self) -> str:
        """Return what differs from boot to boot, an empty text while no command is taken."""
        assert self._qemu is not None
        if self._qemu.poll() is not None:
            raise RuntimeError((self.directory / "qemu.log").read_text(errors="replace")[-3000:])
        try:
            code, output = self.begin(["cat", "/proc/sys/kernel/random/boot_id"]).outcome(timeout=5)
        except (OSError, ValueError):
            return ""
        return output.strip() if code == 0 else ""

    def _restart(self, order: Callable[[], object]) -> None:
        before, began = self._boot_id(), time.monotonic()
        order()
        self.wait_for(lambda: self._boot_id() not in {"", before}, BOOT_SECONDS, "the machine to boot again")
        self.boot_seconds = time.monotonic() - began

    def _order_reboot(self) -> None:
        # The command server may be gone before it has told how the command ended.
        with contextlib.suppress(ConnectionError):
            self.begin(["systemctl", "reboot", "--no-block"]).finish()

    def _reset(self) -> None:
        """Have QEMU reset the machine; its monitor wants its capabilities negotiated first."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self.directory / "qmp"))
            with monitor.makefile("rwb") as stream:
                for command in ("qmp_capabilities", "system_reset"):
                    stream.write(json.dumps({"execute": command}).encode() + b"\n")
                    stream.flush()
                    while "return" not in json.loads(stream.readline()):
                        continue


def _free_port() -> int:
    """Return a port of the loopback that nobody has; QEMU binds it right after."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: Any = probe.getsockname()[1]
        return int(port)


def _listen_for_heartbeats() -> HeartbeatReceiver:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("127.0.0.1", 0))
    return HeartbeatReceiver(receiver, HEARTBEAT_KEY)
