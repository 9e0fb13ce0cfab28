"""One command to one of HAProxy's CLI sockets, with a deadline. Never keeps a connection."""

from __future__ import annotations

import socket
from pathlib import Path

from amphora_agent.errors import HostFailure, MalformedData
from amphora_agent.host.deadline import Deadline

ANSWER_MAX = 64 * 1024 * 1024
CHUNK = 64 * 1024


def query(path: Path, command: str, timeout: float, payload: str = "") -> bytes:
    """Send one command and return everything HAProxy answers until it closes the connection.

    Args:
        path: a stats socket or the master's CLI.
        command: one command without its end of line.
        timeout: seconds for all of it: connecting, sending and the whole answer.
        payload: what the command takes as its payload; lines that all end in a line feed, none of them empty.

    Raises:
        MalformedData: the command holds a control character or `;`, or the payload an empty line, so it would be
            more than one; nothing is sent.
        HostFailure: no process listens, or the answer did not end in time.

    Source: HAProxy management guide 9.3: commands end at a line feed or `;`; without the interactive mode the
    connection is closed after the answer.
    """
    if ";" in command or not command.isprintable():
        raise MalformedData("cannot send this to HAProxy", "a command holds no control character and no `;`")
    if payload and ("\n\n" in payload or payload[0] == "\n" or payload[-1] != "\n"):
        raise MalformedData("cannot send this to HAProxy", "a payload ends at its first empty line")
    text = f"{command} <<\n{payload}\n" if payload else f"{command}\n"
    deadline = Deadline.after(timeout)
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_left(deadline))
            connection.connect(str(path))
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)  # the master would wait for another command otherwise
            while len(answer) <= ANSWER_MAX:
                connection.settimeout(_left(deadline))
                chunk = connection.recv(CHUNK)
                if not chunk:
                    return bytes(answer)
                answer += chunk
    except TimeoutError as error:
        raise HostFailure(f"cannot get an answer from {path}", f"nothing complete within {timeout:g} s") from error
    except OSError as error:
        raise HostFailure(f"cannot ask {path}", error.strerror or str(error)) from error
    raise HostFailure(f"cannot take the answer of {path}", f"longer than {ANSWER_MAX} bytes")


def _left(deadline: Deadline) -> float:
    left = deadline.left()
    if left <= 0:
        raise TimeoutError
    return left
