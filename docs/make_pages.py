"""Makes the pages that are made from the code and the sample configuration: `make_pages.py` writes, tests compare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.doctor.explanations import page
from amphora_agent.ctl import reference
from amphora_agent.ctl.parser import build

# Options whose name says it all to readers of the sample, and not to readers of a manual.
_MEANINGS = {
    "bind_host": "The address the API listens at.",
    "bind_port": "The port the API listens at.",
    "haproxy_cmd": "The HAProxy to start.",
    "agent_server_cert": "The agent's certificate with its chain and its key.",
    "agent_server_ca": "The authorities of the clients that are let in.",
    "agent_server_network_dir": "What each interface should be, a file each.",
    "netns": "The network namespace of the load balancers.",
}
ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "etc" / "amphora-agent.conf"
_OPTION = re.compile(r"# ([a-z_]+) = ?(.*)")


def pages() -> dict[str, str]:
    """Return path below the project -> text of every page that is made."""
    outline = reference.outline(build())
    return {
        "docs/amphoractl.md": reference.markdown(outline),
        "docs/doctor.md": page(),
        "docs/man/amphoractl.1": reference.manual(outline),
        "docs/man/amphora-agent.conf.5": configuration_manual(SAMPLE.read_text()),
    }


def configuration_manual(sample: str) -> str:
    """Return amphora-agent.conf(5), from the sample configuration and its comments."""
    head, _, rest = sample.partition("\n\n")
    lines = [
        '.\\" Made by `docs/make_pages.py` from etc/amphora-agent.conf.',
        ".TH AMPHORA\\-AGENT.CONF 5",
        ".SH NAME",
        "amphora\\-agent.conf \\- configuration of the amphora agent and its heartbeats",
        ".SH DESCRIPTION",
        *(
            _roff(line.removeprefix("# ").removeprefix("Configuration of the amphora agent. "))
            for line in head.splitlines()
        ),
        ".SH OPTIONS",
        *_sections(rest),
        ".SH SEE ALSO",
        ".BR amphora\\-agent (8),",
        ".BR amphoractl (1)",
    ]
    return "\n".join(lines) + "\n"


def _sections(text: str) -> Iterator[str]:
    comments: list[str] = []
    for line in text.splitlines():
        option = _OPTION.fullmatch(line)
        if line.startswith("["):
            yield f".SS {_roff(line)}"
            comments = []
        elif option is not None:
            yield from _option(option[1], option[2], comments)
            comments = []
        elif line.startswith("#     ") or not line:
            continue
        else:
            comments.append(line.removeprefix("# "))


def _option(name: str, rest: str, comments: list[str]) -> Iterator[str]:
    value, sign, remark = rest.partition("#")
    yield ".TP"
    yield f".BR {_roff(name)}" + (f" \\ =\\  {_roff(value.strip())}" if value.strip() else "")
    sentences = [*comments, *([remark.strip().capitalize() + "."] if sign else [])]
    yield from (_roff(line) for line in sentences or [_MEANINGS.get(name, "As its name says.")])


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / name).write_text(text)
