"""A virtual machine that boots the amphora image, emulated by QEMU: a kernel with IPVS and SCTP, and a power button.

    with VirtualMachine() as machine:
        machine.boot()
        machine.exec(["ipvsadm", "-Ln"])                     # any command, as root, inside
        flood = machine.begin(["python3", "/opt/image-tests/udp_flood.py", ...])
        machine.request("GET", "/1.0/info")                  # the agent, over mutual TLS, from outside
        machine.heartbeats.receive()                         # what the controller hears
        print(flood.finish())
        machine.reboot()

Nothing of the tests is in the image: their programs (guest/) come with the config drive, as user data. With
`has_world`, these are inside: the namespaces `client` (10.10.0.1, 2001:db8:10::1) and `members` (10.20.0.11 to .30,
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
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from testbed.amphora import AMPHORA_ID, HEARTBEAT_KEY, SAMPLES, Reply, ask
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.pki import Pki, client_context
from tests.container import debian
from tests.image import built_image, emulator
from tests.image.config_drive import ConfigDrive, make_iso, make_vfat
from tests.image.emulator import Bus, Hardware

VIP_MAC = "fa:16:3e:00:00:01"
MEMBER_MAC = "fa:16:3e:00:00:02"
MANAGEMENT_MAC = "52:54:00:00:00:01"
GATEWAY = "10.0.2.2"
AGENT_PORT = 9443
COMMAND_PORT = 7000
# An unchanged machine took 25 s when quiet and 200 s beside twenty busy processes.
BOOT_SECONDS = 600.0
# For one test at most; the first one also makes and boots the machine.
TEST_SECONDS = 1800.0

GUEST_FILES = Path(__file__).parent / "guest"
GUEST_DIRECTORY = "/opt/image-tests"
# The tests' own programs come with the drive, these of them from Debian.
_TOOLS = ("usr/sbin/conntrack", "libnetfilter_conntrack.so.3", "libnfnetlink.so.0")
STATIC: Mapping[str, object] = {
    "type": "ipv4",
    "ip_address": "10.0.2.15",
    "netmask": "255.255.255.0",
    "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": GATEWAY}],
}
DHCP: Mapping[str, object] = {"type": "ipv4_dhcp"}


class CommandFailed(Exception):
    """A command inside the machine ended with another code than 0."""


class Running:
    """A command at work inside the machine; closing it ends the command."""

    def __init__(self, connection: socket.socket, argv: Sequence[str]) -> None:
        self._connection, self._argv = connection, argv

    def finish(self, *, timeout: float = 180.0) -> str:
        """Wait for the end and return the output.

        Raises:
            CommandFailed: the exit code is not 0; with the output.
            TimeoutError: it goes on for longer than `timeout`.
        """
        code, output = self.outcome(timeout=timeout)
        if code != 0:
            raise CommandFailed(f"{self._argv}: exit {code}\n{output}")
        return output

    def outcome(self, *, timeout: float = 180.0) -> tuple[int, str]:
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

    Attributes:
        amphora_id: the amphora's own; two machines need two.
        is_user_data: the controller delivers its files in the user data; `network` is the management NIC's.
        has_world: with clients, members and NICs inside; see above.
        has_kit: with the tests' own programs at all; without them `exec` and its kind do not work.
        commands: what the user data orders beside the controller's own commands and those of the kit.
        boot_seconds: how long the last boot took until the machine was ready.
        logs: where the machine's rsyslog sends what it is told to send away.
    """

    hardware: Hardware = field(default_factory=Hardware)
    amphora_id: str = AMPHORA_ID
    topology: str = "SINGLE"
    is_user_data: bool = False
    network: Mapping[str, object] = field(default_factory=lambda: STATIC)
    has_world: bool = False
    has_kit: bool = True
    commands: tuple[str, ...] = ()
    directory: Path = field(init=False)
    context: ssl.SSLContext = field(init=False)
    heartbeats: HeartbeatReceiver = field(init=False)
    logs: socket.socket = field(init=False)
    boot_seconds: float = field(init=False, default=0.0)
    _pki: Pki = field(init=False)
    _ports: dict[int, int] = field(init=False, default_factory=dict)
    _plugged: tuple[str, ...] = field(init=False, default=())
    _began: float = field(init=False, default=0.0)
    _qemu: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.heartbeats = HeartbeatReceiver(_bound_socket(), HEARTBEAT_KEY)
        self.logs = _bound_socket()
        name = f"{os.getpid()}-{self.amphora_id[:8]}-image"
        self.directory = debian.prepare(debian.DIRECTORY / "runs" / name)
        try:
            self._pki = Pki.mint(self.amphora_id)
            self._pki.write(self.directory)
            self.context = client_context(self.directory / "ca.pem", self.directory / "client.pem")
            emulator.make_disk(self.directory, self.hardware)
            make = make_vfat if self.hardware.drive is Bus.VFAT else make_iso
            make(self._drive(), self.directory / emulator.DRIVE)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def config(self) -> str:
        """Return the agent's configuration file, as the controller renders it but for the heartbeats."""
        text = (SAMPLES / "agent/amphora-agent-single.conf").read_text()
        port = self.heartbeats.socket.getsockname()[1]
        changes = {
            "192.0.2.1:5555, [2001:db8::1]:5555": f"{GATEWAY}:{port}",
            "heartbeat_interval = 10": "heartbeat_interval = 1",
            "loadbalancer_topology = SINGLE": f"loadbalancer_topology = {self.topology}",
            AMPHORA_ID: self.amphora_id,
        }
        for before, after in changes.items():
            text = text.replace(before, after)
        return text

    def _drive(self) -> ConfigDrive:
        log_port = self.logs.getsockname()[1]
        rsyslog = (SAMPLES / "agent/10-rsyslog.conf").read_text()
        for target in ("192.0.2.50", "192.0.2.51", "192.0.2.52"):
            rsyslog = rsyslog.replace(target, GATEWAY)
        for port in ("20514", "10514"):
            rsyslog = rsyslog.replace(port, str(log_port))
        files = {
            "/etc/octavia/amphora-agent.conf": self.config(),
            "/etc/rsyslog.d/10-rsyslog.conf": rsyslog,
            "/etc/octavia/certs/server.pem": self._pki.server.decode(),
            "/etc/octavia/certs/client_ca.pem": self._pki.ca.decode(),
        }
        units = ["command-server.service", *(["outside-world.service"] if self.has_world else [])]
        begin_kit = ("systemctl daemon-reload", f"systemctl enable --now {' '.join(units)}")
        return ConfigDrive(
            instance=str(uuid.uuid5(uuid.NAMESPACE_URL, str(self.directory))),
            nic=MANAGEMENT_MAC,
            networks=(self.network,),
            files=files,
            is_user_data=self.is_user_data,
            kit=_kit() if self.has_kit else {},
            commands=(*self.commands, *(begin_kit if self.has_kit else ())),
        )

    # Its life

    def boot(self) -> None:
        """Switch it on and wait until it takes commands, or without the tests' programs until the agent answers."""
        self.switch_on()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until a machine that is switched on takes commands, or without the tests' programs its agent answers."""
        self.wait_for(self._boot_id if self.has_kit else self.agent_answers, BOOT_SECONDS, "the machine to boot")
        self.boot_seconds = time.monotonic() - self._began

    def freeze(self) -> None:
        """Keep it as it is now, running, for `thaw`; it is off afterwards."""
        emulator.freeze(self.directory)
        self.switch_off()
        emulator.keep_frozen_disk(self.directory)

    def thaw(self) -> None:
        """Have it, which is off, go on from where it was frozen, as if nothing had happened since; a second's work."""
        emulator.thaw_disk(self.directory)
        self.switch_on(is_thawed=True)

    def switch_on(self, *, is_thawed: bool = False) -> None:
        """Have QEMU run it; wait for nothing. It ends with the thread that calls this."""
        assert self._qemu is None, "the machine runs already"
        self._began = time.monotonic()
        self._ports = {inside: _free_port() for inside in (COMMAND_PORT, AGENT_PORT)}
        running = emulator.Run(self._ports, self._plugged, is_thawed)
        command = emulator.command_line(self.directory, self.hardware, MANAGEMENT_MAC, running)
        with (self.directory / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=tuple(self.hardware.cables.values()),
            )

    def switch_off(self) -> None:
        """Take the power away; harmless when it is off."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait(10)
            self._qemu = None

    def cpu_seconds(self) -> float:
        """Return the CPU time that the emulator has taken since power on."""
        assert self._qemu is not None
        times = psutil.Process(self._qemu.pid).cpu_times()
        return float(times.user + times.system)

    def plug(self, mac: str) -> None:
        """Plug a NIC at one of the hardware's cables; the machine has it from then on, at every boot."""
        emulator.plug(self.directory, self.hardware, mac)
        self._plugged = (*self._plugged, mac)

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._qemu is not None

    @property
    def has_ended(self) -> bool:
        """Whether a machine that was switched on has switched itself off."""
        return self._qemu is not None and self._qemu.poll() is not None

    def press_power_button(self) -> None:
        """Ask it to end, as the cloud does before it takes the power away."""
        emulator.order(self.directory, "system_powerdown")

    def reboot(self) -> None:
        """Shut it down in order, start it again and wait until it takes commands."""
        self._restart(self._order_reboot)

    def cut_power(self) -> None:
        """Press the reset button: what is not on the disk is lost. Waits until it takes commands again."""
        self._restart(lambda: emulator.order(self.directory, "system_reset"))

    def close(self) -> None:
        """Switch it off and remove all of it; harmless when repeated."""
        self.switch_off()
        self.heartbeats.socket.close()
        self.logs.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Inside it

    def exec(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 180.0) -> str:
        """Run a command as root and return its output; CommandFailed when it fails."""
        return self.begin(argv, stdin=stdin, timeout=timeout).finish(timeout=timeout + 5)

    def begin(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 600.0) -> Running:
        """Start a command as root; it is ended after `timeout` seconds."""
        connection = socket.create_connection(("127.0.0.1", self._ports[COMMAND_PORT]), timeout=10)
        connection.sendall(json.dumps({"argv": list(argv), "stdin": stdin, "timeout": timeout}).encode() + b"\n")
        return Running(connection, argv)

    def inside(self, namespace: str, argv: Sequence[str], *, timeout: float = 180.0) -> str:
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

    def connect(self, *, timeout: float = 240.0) -> http.client.HTTPSConnection:
        """Return a connection to the agent, for `ask`; the caller closes it."""
        plain = socket.create_connection(("127.0.0.1", self.agent_port), timeout=timeout)
        connection = http.client.HTTPSConnection("127.0.0.1", timeout=timeout, context=self.context)
        try:
            connection.sock = self.context.wrap_socket(plain, server_hostname=self.amphora_id)
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
        timeout: float = 240.0,
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


def _free_port() -> int:
    """Return a port of the loopback that nobody has; QEMU binds it right after."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: Any = probe.getsockname()[1]
        return int(port)


def _bound_socket() -> socket.socket:
    """Return a UDP socket at a free port of the loopback."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("127.0.0.1", 0))
    return receiver


def _kit() -> dict[str, tuple[bytes, int]]:
    """Return the tests' own programs: path inside -> content and mode."""
    kit = {}
    for file in GUEST_FILES.iterdir():
        if file.suffix == ".service":
            kit[f"/etc/systemd/system/{file.name}"] = (file.read_bytes(), 0o644)
        elif file.is_file():
            kit[f"{GUEST_DIRECTORY}/{file.name}"] = (file.read_bytes(), 0o755)
    layer = built_image.emulator_layer()
    for tool in _TOOLS:
        found = next(layer.rglob(tool)) if "/" not in tool else layer / tool
        kit[f"{GUEST_DIRECTORY}/{found.name}"] = (found.read_bytes(), 0o755)
    return kit
