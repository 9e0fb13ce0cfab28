"""amphoractl heartbeat listen: the controller's end of the heartbeats, to see what arrives."""

from __future__ import annotations

import json
import socket
import time

from amphora_agent.core.heartbeat.envelope import open_envelope
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import Style, Words, quiet, strong, word
from amphora_agent.errors import MalformedData
from amphora_agent.host import files
from amphora_agent.host.doctor.observe import read_settings

_LARGEST = 65536


def run(context: Context) -> Exit:
    """Print every message that arrives, until so many have or somebody ends it."""
    given = context.arguments
    key = _key(context)
    with _bound(given.address, given.port) as receiver:
        address, port = receiver.getsockname()[:2]
        context.screen.note(f"listening at {address} port {port}")
        count = 0
        while given.count is None or count < given.count:
            data, sender = receiver.recvfrom(_LARGEST)
            _show(context.screen, data, str(sender[0]).removeprefix("::ffff:"), key)
            context.screen.flush()
            count += 1
    return Exit.DONE


def _key(context: Context) -> str:
    given = context.arguments
    if given.key_file is not None:
        data = files.read_named(given.key_file)
        if not data:
            raise CommandFailure(Exit.USAGE, f"there is no key in {given.key_file}")
        return data.decode("utf-8", "surrogateescape").strip("\r\n")
    settings, _ = read_settings(given.config_file)
    if not settings.heartbeat_key:
        raise CommandFailure(Exit.USAGE, f"there is no heartbeat_key in {given.config_file}; give it with --key-file")
    return settings.heartbeat_key


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    receiver = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if address == "::":
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiver.bind((address, port))
    except OSError as error:
        receiver.close()
        message = f"cannot listen at {address} port {port}: {error.strerror or error}"
        raise CommandFailure(Exit.REFUSED, message) from error
    return receiver


def _show(screen: Screen, data: bytes, sender: str, key: str) -> None:
    arrived = time.strftime("%H:%M:%S")
    try:
        message = Node(open_envelope(data, key))
    except MalformedData as error:
        trouble = "it is not signed with this key" if "digest" in error.detail else error.detail
        if screen.is_json:
            screen.out.write(json.dumps({"from": sender, "bytes": len(data), "trouble": trouble}) + "\n")
        else:
            screen.line(quiet(f"{arrived}  "), f"{sender}  {len(data)} bytes  ", Words(trouble, Style.BAD))
        return
    if screen.is_json:
        screen.out.write(json.dumps({"from": sender, "bytes": len(data), "message": message.value}) + "\n")
        return
    screen.line(
        quiet(f"{arrived}  "),
        f"{sender}  ",
        strong(message.text("id")),
        f"  seq {message.integer('seq')}  ",
        quiet(f"{len(data)} bytes"),
    )
    _show_objects(screen, message)


def _show_objects(screen: Screen, message: Node) -> None:
    listeners, pools = message.node("listeners"), message.node("pools")
    for name in listeners.names():
        each = listeners.node(name)
        stats = each.node("stats")
        counts = ", ".join(f"{key} {stats.integer(key)}" for key in stats.names())
        screen.line(f"  listener {name}  ", word(each.text("status")), quiet(f"  {counts}"))
    for name in pools.names():
        each = pools.node(name)
        members = each.node("members")
        states = [members.text(member) for member in members.names()]
        counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "no members"
        screen.line(f"  pool {name}  ", word(each.text("status")), quiet(f"  {counted}"))
