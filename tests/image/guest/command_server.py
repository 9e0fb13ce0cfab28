"""Runs commands for the tests as root, inside the virtual machine only; no part of the agent.

One connection, one command: a JSON line `{"argv": [...], "stdin": text, "timeout": seconds}` is answered by
`{"code": exit code, "output": text}`; 124 when the time is up, 127 when there is no such program. A client that
hangs up early ends its command.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from typing import Any


class Handler(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        """Read the command, run it, answer."""
        line = self.rfile.readline()
        if line:
            self.wfile.write(json.dumps(run(json.loads(line), self.connection)).encode() + b"\n")


def run(request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
    """Return the reply; the command is ended when its time is up or nobody waits for it any more."""
    try:
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return {"code": 127, "output": str(error)}
    finished = threading.Event()
    threading.Thread(target=end_when_deserted, args=(process, connection, finished), daemon=True).start()
    try:
        output, _ = process.communicate(request["stdin"].encode(), request["timeout"])
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = 124
    finally:
        finished.set()
    return {"code": code, "output": output.decode(errors="replace")}


def end_when_deserted(process: subprocess.Popen[bytes], connection: socket.socket, finished: threading.Event) -> None:
    """End the command when the client hangs up before it has finished."""
    while not finished.is_set():
        readable, _, _ = select.select([connection], [], [], 0.5)
        if readable and not finished.is_set() and connection.recv(1, socket.MSG_PEEK) == b"":
            os.killpg(process.pid, signal.SIGKILL)
            return


class Server(socketserver.ThreadingTCPServer):
    """Many commands at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    Server(("", int(sys.argv[1])), Handler).serve_forever()
