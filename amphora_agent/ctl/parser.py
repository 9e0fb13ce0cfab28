"""The command line of amphoractl: commands, arguments and their words. Help, completion and manual are made from it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from amphora_agent.core.settings import Settings
from amphora_agent.ctl.client import DEFAULT_PORT
from amphora_agent.ctl.failure import Exit

DEFAULT_SOCKET = Path(Settings().api_socket or "")
DEFAULT_CONFIG = Path("/etc/octavia/amphora-agent.conf")
HEARTBEAT_PORT = 5555

DESCRIPTION = "Look at an amphora and change its load balancers."
EPILOGUE = """\
exit codes: 0 done, or no difference; 1 a difference, something found, or not come in time; 2 wrong usage;
3 refused, or a fault; 4 the agent cannot be reached; 5 a conflict with another change; 130 interrupted.
"""

Parser = argparse.ArgumentParser
_Group = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


class _Parser(Parser):
    """Says what is wrong in one line, and where help is."""

    def error(self, message: str) -> NoReturn:
        """End with the exit code of wrong usage."""
        self.exit(Exit.USAGE, f"{self.prog}: {message}\nTry `{self.prog} --help`.\n")


def build() -> Parser:
    """Return the parser; `command` of its result names the module of `commands` that carries it out."""
    common = _common()
    parser: Parser = _Parser(
        prog="amphoractl",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common()],  # not the commands' own: the defaults below would go to them, too
    )
    parser.set_defaults(**_DEFAULTS)
    commands: _Group[Parser] = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(_Adder(commands, common))
    return parser


_DEFAULTS = {
    "socket": None,
    "url": None,
    "cert": None,
    "key": None,
    "ca": None,
    "server_name": None,
    "timeout": 120.0,
    "json": False,
}


def _common() -> Parser:
    """Return what may stand before and after every command; the defaults are the whole parser's."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("where the agent is, and how to answer")
    group.add_argument("--socket", type=Path, metavar="PATH", help=f"its UNIX socket; default: {DEFAULT_SOCKET}")
    group.add_argument("--url", metavar="URL", help=f"https://HOST[:PORT] instead, port {DEFAULT_PORT} unless given")
    group.add_argument("--cert", type=Path, metavar="FILE", help="our certificate, for --url")
    group.add_argument("--key", type=Path, metavar="FILE", help="its key, when it is not in the same file")
    group.add_argument("--ca", type=Path, metavar="FILE", help="whom the agent's certificate has to be from")
    group.add_argument("--server-name", metavar="NAME", help="what it has to name; default: the host of the URL")
    group.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="for one answer; default: 120")
    group.add_argument("--json", action="store_true", help="answer with JSON")
    return common


class _Adder:
    """Adds commands that all take the common options."""

    def __init__(self, commands: _Group[Parser], common: Parser) -> None:
        self._commands = commands
        self._common = common

    def command(self, name: str, text: str) -> Parser:
        """Return the parser of a new command."""
        description = f"{text[0].upper()}{text[1:]}."
        return self._commands.add_parser(
            name, help=text, description=description, allow_abbrev=False, parents=[self._common]
        )

    def group(self, name: str, text: str) -> _Adder:
        """Return what adds the actions of a new command."""
        actions = self.command(name, text).add_subparsers(dest="action", metavar="ACTION", required=True)
        return _Adder(actions, self._common)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 86400 seconds")
    return number


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        found = int(text)
        if not low <= found <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low} to {high}")
        return found

    return number


def _place(text: str) -> tuple[str, str]:
    pool, slash, member = text.partition("/")
    if not (pool and slash and member) or "/" in member:
        raise argparse.ArgumentTypeError(f"{text!r} is not POOL/MEMBER")
    return pool, member


def _route(text: str) -> tuple[str, str]:
    destination, sign, hop = text.partition("=")
    if not (destination and sign and hop):
        raise argparse.ArgumentTypeError(f"{text!r} is not NET=HOP")
    return destination, hop


def _loadbalancer(parser: Parser) -> None:
    parser.add_argument(
        "lb", nargs="?", metavar="LB", help="a load balancer's name or id; may be left out of one alone"
    )


def _of(parser: Parser) -> None:
    parser.add_argument("--lb", metavar="LB", help="the load balancer's name or id; may be left out of one alone")


def _file(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a load balancer as YAML or JSON; - for standard input")


def _configuration(parser: Parser) -> None:
    parser.add_argument(
        "--config-file",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the agent's; default: {DEFAULT_CONFIG}",
    )


def _add_looking(add: _Adder) -> None:
    _loadbalancer(add.command("status", "show load balancers, listeners, pools and members"))
    top = add.command("top", "watch a load balancer; d drains the member under the cursor, r makes it ready, q ends")
    _loadbalancer(top)
    top.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="default: 2")
    top.add_argument("--once", action="store_true", help="show it once and end, as without a terminal")
    events = add.command("events", "show what happened")
    _of(events)
    events.add_argument("--after", type=_number(0, 2**63), default=0, metavar="SEQUENCE", help="only later ones")
    events.add_argument("--follow", action="store_true", help="go on with what happens from now on")


def _add_finding(add: _Adder) -> None:
    doctor = add.command("doctor", "look for everything that is known to go wrong; works without the agent")
    _configuration(doctor)
    doctor.add_argument("--all", action="store_true", help="show what is in order, too")
    explain = add.command("explain", "say what a finding of the doctor means and what to do")
    explain.add_argument("code", nargs="?", metavar="CODE", help="such as E07; all of them without one")
    bundle = add.command("bundle", "collect logs, state and versions, without secrets, for those who help")
    _configuration(bundle)
    bundle.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: amphora-TIME.tar.gz here")


def _add_applying(add: _Adder) -> None:
    _file(add.command("validate", "check a file; needs no agent"))
    diff = add.command("diff", "show what applying a file would change and how; exit 1 for a difference")
    _file(diff)
    diff.add_argument("--text", action="store_true", help="show the difference of haproxy.cfg, too")
    apply = add.command("apply", "make a load balancer what a file says")
    _file(apply)
    apply.add_argument("--dry-run", action="store_true", help="only say what would happen")
    apply.add_argument("--confirm", type=_number(1, 86400), metavar="SECONDS", help="go back unless confirmed in time")
    apply.add_argument("--adopt", action="store_true", help="take a load balancer over from its controller")
    apply.add_argument("--create", action="store_true", help="only when there is none of that name yet")
    apply.add_argument("--if-match", metavar="ETAG", help="only when this is still the current version")
    apply.add_argument(
        "--wait", type=_seconds, nargs="?", const=60.0, metavar="SECONDS", help="until it is healthy; default: 60 s"
    )
    _loadbalancer(add.command("confirm", "keep what was applied with --confirm"))
    wait = add.command("wait", "wait until a load balancer is as wanted")
    _loadbalancer(wait)
    wait.add_argument("--for", dest="condition", choices=("Accepted", "Programmed", "Healthy"), default="Healthy")
    wait.add_argument("--at-most", type=_seconds, default=60.0, metavar="SECONDS", help="default: 60")


def _add_documents(add: _Adder) -> None:
    get = add.command("get", "print a load balancer as it was applied, or what runs")
    _loadbalancer(get)
    get.add_argument("-o", "--output", choices=("yaml", "json"), help="default: yaml, json without PyYAML")
    which = get.add_mutually_exclusive_group()
    which.add_argument("--rendered", action="store_true", help="the configurations made from it")
    which.add_argument("--running", action="store_true", help="the configurations that run")
    which.add_argument("--revision", type=_number(1, 2**63), metavar="N", help="as it was then")
    _loadbalancer(add.command("edit", "edit a load balancer with $EDITOR and apply it"))
    delete = add.command("delete", "stop a load balancer and remove it")
    delete.add_argument("lb", metavar="LB", help="its name or id")
    _loadbalancer(add.command("revisions", "list what was applied, newest first"))
    rollback = add.command("rollback", "apply an older revision again")
    rollback.add_argument("number", type=_number(1, 2**63), metavar="N", help="of `amphoractl revisions`")
    _of(rollback)
    rollback.add_argument("--dry-run", action="store_true", help="only say what would happen")


def _add_parts(add: _Adder) -> None:
    member = add.group("member", "change one member without touching the rest")
    for name, text in (
        ("drain", "give a member no new connections; kept over reloads and reboots"),
        ("ready", "end a drain"),
        ("weight", "give a member another share"),
    ):
        action = member.command(name, text)
        action.add_argument("place", type=_place, metavar="POOL/MEMBER")
        if name == "weight":
            action.add_argument("weight", type=_number(0, 256), metavar="WEIGHT", help="0 to 256")
        _of(action)
    secret = add.group("secret", "certificates, authorities, revocation lists and passwords")
    put = secret.command("put", "upload a secret; load balancers that use it take it at once")
    put.add_argument("name", metavar="NAME")
    put.add_argument("file", metavar="FILE", help="PEM, or one line of text for a password; - for standard input")
    secret.command("list", "list what is there; contents are never shown")
    secret.command("delete", "remove a secret that nothing uses").add_argument("name", metavar="NAME")
    plug = add.command("plug", "make an interface what the options say, whole; without options, list them")
    plug.add_argument("interface", nargs="?", metavar="NAME|MAC", help="which; all without one")
    for option, value, text in (
        ("--address", "ADDRESS/LENGTH", "an address of its own"),
        ("--vip", "ADDRESS", "an address of clients; makes it the VIP's interface"),
        ("--gateway", "ADDRESS", "where answers to clients leave; only with --vip"),
    ):
        plug.add_argument(option, action="append", default=[], metavar=value, help=f"{text}; may be repeated")
    plug.add_argument("--route", type=_route, action="append", default=[], metavar="NET=HOP", help="may be repeated")
    plug.add_argument("--mtu", type=_number(68, 65535), metavar="BYTES", help="left alone unless given")
    plug.add_argument("--automatic", action="store_true", help="addresses by DHCP and router advertisements alone")
    plug.add_argument("--dry-run", action="store_true", help="only say what would happen")


def _add_tools(add: _Adder) -> None:
    pki = add.group("pki", "make a certificate authority and certificates for mutual TLS")
    init = pki.command("init", "make an authority: ca.pem and ca.key")
    init.add_argument("directory", type=Path, metavar="DIRECTORY")
    init.add_argument("--name", default="amphora CA", help="of the authority; default: amphora CA")
    init.add_argument("--days", type=_number(1, 7300), default=3650, help="default: 3650")
    issue = pki.command("issue", "make a certificate with its key: NAME.pem")
    issue.add_argument("directory", type=Path, metavar="DIRECTORY", help="where the authority is")
    issue.add_argument("name", metavar="NAME", help="an amphora's id or host name, or a client's name")
    issue.add_argument("--client", action="store_true", help="for a client; else for an agent")
    issue.add_argument("--address", action="append", default=[], metavar="IP", help="an agent's address, for URLs")
    issue.add_argument("--days", type=_number(1, 3650), default=365, help="default: 365")
    heartbeat = add.group("heartbeat", "the messages that amphorae send to controllers")
    listen = heartbeat.command("listen", "receive heartbeats as a controller does, and print what they say")
    listen.add_argument("--address", default="::", metavar="IP", help="to listen at; default: every one")
    listen.add_argument("--port", type=_number(0, 65535), default=HEARTBEAT_PORT, help=f"default: {HEARTBEAT_PORT}")
    listen.add_argument("--key-file", type=Path, metavar="FILE", help="has the key; default: the agent's configuration")
    listen.add_argument("--count", type=_number(1, 2**31), metavar="N", help="end after so many")
    _configuration(listen)
    completion = add.command("completion", "print what makes a shell complete the commands")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    add.command("version", "show the versions of amphoractl and of the agent")
    reference = add.command("reference", "print the reference of the commands")
    reference.add_argument("format", choices=("markdown", "man"))


_COMMANDS: tuple[Callable[[_Adder], None], ...] = (
    _add_looking,
    _add_finding,
    _add_applying,
    _add_documents,
    _add_parts,
    _add_tools,
)
