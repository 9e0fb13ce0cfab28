"""A cloud-config once its YAML is read: files, commands, the time zone. Never parses YAML and never runs a command.

Decision: the YAML arrives with every scalar as the text that stands there: `0644` and `"0644"` are one mode, `yes` in a
file's content stays a word, and no date or number can fail.

Decision: the controller renders its template with HTML escaping on, so the quotes of a file arrive as `&#34;`. It is
undone where a content can have come out of that escaping: every `&` begins one of its five entities, and no `<`, `>`
or quote stands bare. Everything else is left as it is, an HTML page with its own entities included.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import zlib
from dataclasses import dataclass
from typing import Final

from amphora_agent.core.config_drive.model import DEFAULT_MODE, DriveFile, check_path
from amphora_agent.errors import AgentError, InvalidRequest

_ENTITIES: Final = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'"}
_ESCAPED: Final = re.compile(r"(?:[^&<>\"']|&(?:amp|lt|gt|#34|#39);)*")
_ENTITY: Final = re.compile("&(?:amp|lt|gt|#34|#39);")
_MODE: Final = re.compile("(?:0o?)?[0-7]{3,4}")
_OWNER: Final = re.compile("[a-z_][a-z0-9_-]*(:[a-z_][a-z0-9_-]*)?")
_TIME_ZONE: Final = re.compile("[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
_BASE64: Final = frozenset({"b64", "base64"})
_GZIP: Final = frozenset({"gz", "gzip"})
_BOTH: Final = frozenset(f"{gzip}+{code}" for gzip in _GZIP for code in _BASE64)
_PLAIN: Final = frozenset({"", "text/plain"})
_KEYS: Final = frozenset({"write_files", "runcmd", "timezone"})
_FILE_KEYS: Final = frozenset({"path", "content", "permissions", "owner", "append", "encoding"})
# The reader ends before any of these starts, so they find their files at their first start.
_NEEDLESS: Final = frozenset(
    f"{verb} {unit}{end}"
    for unit in ("rsyslog", "amphora-agent")
    for verb, end in (("systemctl restart", ""), ("systemctl restart", ".service"), ("service", " restart"))
)
LARGEST_CONTENT: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudConfig:
    """What is of use; `commands` are lines for a shell, in order."""

    files: tuple[DriveFile, ...] = ()
    commands: tuple[str, ...] = ()
    time_zone: str = ""
    complaints: tuple[str, ...] = ()


def parse_cloud_config(document: object) -> CloudConfig:
    """Return what the document says; what is wrong or unknown in it stands among the complaints.

    Args:
        document: mappings, lists and texts only; an empty text where the YAML has nothing.

    Raises:
        InvalidRequest: it is no mapping.

    Source: cloud-init's documentation, modules "Write Files", "Runcmd", "Timezone".
    """
    if document in ("", None):
        return CloudConfig()
    if not isinstance(document, dict):
        raise InvalidRequest("cannot read the user data", "its YAML is no mapping")
    complaints = [f"ignored the unknown key {key!r} of the user data" for key in document if key not in _KEYS]
    return CloudConfig(
        files=_files(document.get("write_files"), complaints),
        commands=_commands(document.get("runcmd"), complaints),
        time_zone=_time_zone(document.get("timezone"), complaints),
        complaints=tuple(complaints),
    )


def unescape(text: str) -> str:
    """Return what was before HTML escaping; a text that the escaping cannot have made is returned as it is."""
    if "&" not in text or _ESCAPED.fullmatch(text) is None:
        return text
    return _ENTITY.sub(lambda entity: _ENTITIES[entity.group()], text)


def _entries(value: object, key: str, complaints: list[str]) -> list[object]:
    if value in ("", None):
        return []
    if isinstance(value, list):
        return value
    complaints.append(f"ignored {key} of the user data: not a list")
    return []


def _files(value: object, complaints: list[str]) -> tuple[DriveFile, ...]:
    files = []
    for number, entry in enumerate(_entries(value, "write_files", complaints)):
        try:
            files.append(_file(entry, complaints))
        except AgentError as error:
            complaints.append(f"left out file {number} of write_files: {error}: {error.detail}")
    return tuple(files)


def _file(entry: object, complaints: list[str]) -> DriveFile:
    if not isinstance(entry, dict):
        raise InvalidRequest("cannot use the entry", "it is no mapping")
    path = check_path(entry.get("path"))
    complaints += [f"ignored the unknown key {key!r} of {path}" for key in entry if key not in _FILE_KEYS]
    owner = _scalar(entry, "owner")
    if owner and _OWNER.fullmatch(owner) is None:
        raise InvalidRequest("cannot use the owner", f"{path}: not USER or USER:GROUP")
    return DriveFile(
        path=path,
        content=_content(_scalar(entry, "content"), _scalar(entry, "encoding").lower(), path),
        mode=_mode(_scalar(entry, "permissions"), path),
        owner=owner,
        is_appended=_scalar(entry, "append").lower() in {"true", "yes", "on"},
    )


def _scalar(entry: dict[object, object], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest("cannot use the entry", f"{key} is no text")
    return value


def _content(text: str, encoding: str, path: str) -> bytes:
    if encoding in _PLAIN:
        return unescape(text).encode("utf-8", "surrogatepass")
    if encoding not in _BASE64 | _BOTH:
        raise InvalidRequest("cannot use the encoding", f"{path}: {encoding[:40]!r} is none of base64 and gzip+base64")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("cannot decode the content", f"{path}: no base64") from error
    return data if encoding in _BASE64 else _unzipped(data, path)


def _unzipped(data: bytes, path: str) -> bytes:
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unzip.decompress(data, LARGEST_CONTENT)
    except zlib.error as error:
        raise InvalidRequest("cannot decode the content", f"{path}: no gzip") from error
    if not unzip.eof:
        raise InvalidRequest("cannot decode the content", f"{path}: cut off, or above {LARGEST_CONTENT} bytes")
    return content


def _mode(text: str, path: str) -> int:
    if not text:
        return DEFAULT_MODE
    if _MODE.fullmatch(text) is None:
        raise InvalidRequest("cannot use the permissions", f"{path}: not octal")
    return int(text.removeprefix("0o"), 8)


def _commands(value: object, complaints: list[str]) -> tuple[str, ...]:
    commands = []
    for number, entry in enumerate(_entries(value, "runcmd", complaints)):
        if isinstance(entry, str):
            command = entry.strip()
        elif isinstance(entry, list) and entry and all(isinstance(word, str) for word in entry):
            command = shlex.join(entry)
        else:
            complaints.append(f"left out command {number} of runcmd: neither a text nor a list of texts")
            continue
        if command and " ".join(command.split()) not in _NEEDLESS:
            commands.append(command)
    return tuple(commands)


def _time_zone(value: object, complaints: list[str]) -> str:
    if value in ("", None):
        return ""
    if isinstance(value, str) and _TIME_ZONE.fullmatch(value):
        return value
    complaints.append("ignored the time zone: not AREA/CITY")
    return ""
