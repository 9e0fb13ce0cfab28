"""Steps as commands for HAProxy's runtime API, and which answers mean that a command was carried out. Sends nothing.

Every word of a command is checked: text from a configuration can neither end a command nor start another.

Source: HAProxy management guide 9.3; the answers as 2.6.12 and 3.0.11 print them. Anything else is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from amphora_agent.core.haproxy.server_line import SAFE_WORD, Server
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    FileKind,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)
from amphora_agent.errors import MalformedData

# A command and its payload have to fit into one buffer: `tune.bufsize`, 16,384 unless configured, less a margin.
PAYLOAD_MAX = 15_000
_NO_ANSWER = re.compile(r"")
_DELETED = re.compile(r"Server deleted\.")
_GONE = re.compile(r"Server deleted\.|No such server\.")
_REGISTERED = re.compile(r"New server registered\.")


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `payload` follows it, up to an empty line. `answer` is what HAProxy must say, blanks aside."""

    text: str
    answer: re.Pattern[str]
    payload: str = ""

    def accepts(self, answer: str) -> bool:
        """Tell whether the answer says that the command was carried out."""
        return self.answer.fullmatch(answer.strip()) is not None


def command(*words: str, answer: re.Pattern[str] = _NO_ANSWER, payload: str = "") -> Command:
    """Return a command of exactly these words.

    Raises:
        MalformedData: a word could be taken for more than itself, or the payload does not fit or ends early.
    """
    for word in words:
        if SAFE_WORD.match(word) is None:
            raise MalformedData("cannot put this into a command for HAProxy", repr(word))
    text = " ".join(words)
    if payload:
        if "\n\n" in payload or payload.startswith("\n") or not payload.endswith("\n"):
            raise MalformedData("cannot send this file to HAProxy", "it has an empty line")
        if len(text) + len(payload) > PAYLOAD_MAX:
            raise MalformedData("cannot send this file to HAProxy", f"{len(payload)} bytes do not fit into its buffer")
    return Command(text, answer, payload)


def payload_of(data: bytes) -> str:
    """Return a PEM file as a payload: without blank lines, since the first one would end it.

    Raises:
        MalformedData: it is not text, or nothing is left of it.
    """
    if not data.isascii():
        raise MalformedData("cannot send this file to HAProxy", "it is no PEM text")
    lines = [line.rstrip() for line in data.decode("ascii").splitlines()]
    payload = "".join(f"{line}\n" for line in lines if line)
    if not payload:
        raise MalformedData("cannot send this file to HAProxy", "it is empty")
    return payload


def file_of(step: RuntimeStep) -> str | None:
    """Return the file whose content a step sends, None for the other steps."""
    match step:
        case ReplaceFile(file=file) | AddCertificate(file=file):
            return file
        case _:
            return None


def commands_of(step: RuntimeStep, payload: str = "") -> Sequence[Command]:
    """Return what carries out a step, in order.

    Args:
        step: what to do.
        payload: content of `file_of(step)`, as `payload_of` returns it.

    Raises:
        MalformedData: something cannot be said in HAProxy's command language.
    """
    commands: Sequence[Command]
    match step:
        case AddServer(backend, server, starts_down):
            commands = _add_server(backend, server, starts_down=starts_down)
        case ReplaceServer(backend, server, starts_down):
            added = _add_server(backend, server, starts_down=starts_down)
            commands = (take_out(backend, server.name), delete_server(backend, server.name), *added)
        case RemoveServer(backend, name):
            commands = (take_out(backend, name),)
        case SetWeight(backend, name, weight):
            commands = (_set_server(backend, name, "weight", str(weight)),)
        case SetState(backend, name, is_enabled):
            commands = (_set_server(backend, name, "state", "ready" if is_enabled else "maint"),)
        case SetCheckAddress():
            commands = (_set_check_address(step),)
        case ReplaceFile(kind, loaded, _):
            commands = _replace_file(kind, loaded, payload)
        case AddCertificate(crt_list, loaded, file):
            new = () if file is None else _new_certificate(loaded, payload)
            commands = (*new, _add_to_list(crt_list, loaded))
        case RemoveCertificate(crt_list, loaded, is_unused):
            unload = (_unload(loaded),) if is_unused else ()
            commands = (_remove_from_list(crt_list, loaded), *unload)
        case _:
            assert_never(step)
    return commands


def take_out(backend: str, name: str) -> Command:
    """Return the command that ends new traffic to a server and lets its connections go on."""
    return _set_server(backend, name, "state", "maint")


def delete_server(backend: str, name: str) -> Command:
    """Return the command that deletes a server in maintenance; refused while it has connections."""
    return command("del", "server", f"{backend}/{name}", answer=_DELETED)


def delete_server_if_there(backend: str, name: str) -> Command:
    """Return the same command for a server that may be gone already."""
    return command("del", "server", f"{backend}/{name}", answer=_GONE)


def _set_server(backend: str, name: str, *words: str) -> Command:
    return command("set", "server", f"{backend}/{name}", *words)


def _add_server(backend: str, server: Server, *, starts_down: bool) -> tuple[Command, ...]:
    """Return the commands that make a server exist, checked, and in service unless it is disabled.

    With `starts_down` it has weight 0 until it is marked DOWN: that is possible only once it is in service.
    """
    holds_back = starts_down and server.has_check and not server.is_disabled
    where, name = f"{backend}/{server.name}", server.name
    weight = 0 if holds_back else server.weight
    commands = [command("add", "server", where, *_server_words(server, weight), answer=_REGISTERED)]
    if server.has_check:
        commands.append(command("enable", "health", where))
    if not server.is_disabled:
        commands.append(_set_server(backend, name, "state", "ready"))
    if holds_back:
        commands.append(_set_server(backend, name, "health", "down"))
        commands.append(_set_server(backend, name, "weight", str(server.weight)))
    return tuple(commands)


def _server_words(server: Server, weight: int) -> tuple[str, ...]:
    """Return a server's address and options as an added server needs them.

    A check without an address or port of its own follows the server's TLS and PROXY options, but for an added
    server that has to be said. Before 2.6.17 an added server kept no idle connection unless told to.

    Source: HAProxy management guide, "add server"; HAProxy commits 7d098bea2 and 8a31783b6; tried.
    """
    words = [f"{server.address}:{server.port}", "weight", str(weight), *server.options]
    if server.check_address is not None:
        words += ["addr", str(server.check_address)]
    if server.check_port is not None:
        words += ["port", str(server.check_port)]
    if server.has_check and server.check_address is None and server.check_port is None:
        if server.uses_tls and "check-ssl" not in words:
            words.append("check-ssl")
        if any(word.startswith("send-proxy") for word in words) and "check-send-proxy" not in words:
            words.append("check-send-proxy")
    if server.is_disabled:
        words.append("disabled")
    return (*words, "pool-max-conn", "-1")


def _set_check_address(step: SetCheckAddress) -> Command:
    if step.address is None:
        return _set_server(step.backend, step.name, "check-port", str(step.port or 0))
    port = () if step.port is None else ("port", str(step.port))
    return _set_server(step.backend, step.name, "check-addr", str(step.address), *port)


def _replace_file(kind: FileKind, loaded: str, payload: str) -> tuple[Command, ...]:
    """Return the two halves of a replacement.

    The commit prints a dot for each place it took effect in. Without one it says "Success!" all the same, but
    HAProxy goes on with the old file: seen after a CA was replaced under the same bind line.
    """
    committed = rf"Committing {re.escape(loaded)}\.[.\n]*\nSuccess!"
    return (_send_file(kind, loaded, payload), command("commit", "ssl", kind, loaded, answer=re.compile(committed)))


def _send_file(kind: FileKind, loaded: str, payload: str) -> Command:
    what = {FileKind.CERTIFICATE: "Transaction created for certificate", FileKind.CA: "transaction created for CA"}
    created = re.compile(f"{what.get(kind, 'transaction created for CRL')} {re.escape(loaded)}!")
    return command("set", "ssl", kind, loaded, answer=created, payload=payload)


def _new_certificate(loaded: str, payload: str) -> tuple[Command, ...]:
    new = re.compile(f"New empty certificate store '{re.escape(loaded)}'!")
    committed = re.compile(f"Committing {re.escape(loaded)}\nSuccess!")
    return (
        command("new", "ssl", "cert", loaded, answer=new),
        _send_file(FileKind.CERTIFICATE, loaded, payload),
        command("commit", "ssl", "cert", loaded, answer=committed),
    )


def _add_to_list(crt_list: str, loaded: str) -> Command:
    inserted = rf"Inserting certificate '{re.escape(loaded)}' in crt-list '{re.escape(crt_list)}'[.\n]*\nSuccess!"
    return command("add", "ssl", "crt-list", crt_list, loaded, answer=re.compile(inserted))


def _remove_from_list(crt_list: str, loaded: str) -> Command:
    deleted = f"Entry '{re.escape(loaded)}' deleted in crtlist '{re.escape(crt_list)}'!"
    return command("del", "ssl", "crt-list", crt_list, loaded, answer=re.compile(deleted))


def _unload(loaded: str) -> Command:
    return command("del", "ssl", "cert", loaded, answer=re.compile(f"Certificate '{re.escape(loaded)}' deleted!"))
