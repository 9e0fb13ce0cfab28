"""meta_data.json of a config drive: who this machine is and which files came with it. Never opens one of them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from amphora_agent.core.config_drive.model import check_path
from amphora_agent.errors import AgentError, InvalidRequest

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_CONTENT_PATH = re.compile(r"/content/[A-Za-z0-9_-]+")
_KEY = re.compile(r"[A-Za-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A file by its place on this machine and its place on the drive, below `openstack/`."""

    path: str
    content_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaData:
    """What is of use; empty where the drive says nothing. `host_name` is the first label only."""

    instance: str = ""
    host_name: str = ""
    files: tuple[FileReference, ...] = ()
    keys: tuple[str, ...] = ()
    random_seed: bytes = b""
    complaints: tuple[str, ...] = ()


def parse_metadata(data: bytes) -> MetaData:
    """Return what the document says; what is wrong in it stands among the complaints.

    Raises:
        InvalidRequest: it is no JSON object.

    Source: OpenStack Nova administrator guide, "Config drives", file `meta_data.json`.
    """
    document = load_object(data, "meta_data.json")
    complaints: list[str] = []
    return MetaData(
        instance=_text(document.get("uuid")),
        host_name=_host_name(document, complaints),
        files=_files(document.get("files"), complaints),
        keys=_keys(document.get("public_keys"), complaints),
        random_seed=_random_seed(document.get("random_seed"), complaints),
        complaints=tuple(complaints),
    )


def load_object(data: bytes, name: str) -> dict[str, object]:
    """Return a JSON object.

    Raises:
        InvalidRequest: the data is something else; the words say which file and where.
    """
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"cannot read {name}", f"it is no JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"cannot read {name}", "it is no JSON object")
    return document


def _text(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""


def _host_name(document: dict[str, object], complaints: list[str]) -> str:
    name = _text(document.get("hostname")) or _text(document.get("name"))
    label = name.partition(".")[0]
    if label and _HOST_NAME.fullmatch(label) is None:
        complaints.append(f"ignored the host name {label!r}: letters, digits and hyphens only")
        return ""
    return label


def _files(value: object, complaints: list[str]) -> tuple[FileReference, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        complaints.append("ignored files of meta_data.json: not a list")
        return ()
    files = []
    for number, entry in enumerate(value):
        try:
            files.append(_file(entry))
        except AgentError as error:
            complaints.append(f"left out file {number} of meta_data.json: {error}: {error.detail}")
    return tuple(files)


def _file(entry: object) -> FileReference:
    if not isinstance(entry, dict):
        raise InvalidRequest("cannot use the entry", "it is no object")
    content_path = entry.get("content_path")
    if not isinstance(content_path, str) or _CONTENT_PATH.fullmatch(content_path) is None:
        raise InvalidRequest("cannot use the entry", "content_path is not /content/NAME")
    return FileReference(path=check_path(entry.get("path")), content_path=content_path)


def _keys(value: object, complaints: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = list(value.values()) if isinstance(value, dict) else [value]
    keys = tuple(text.strip() for text in texts if isinstance(text, str) and _KEY.fullmatch(text.strip()))
    if len(keys) != len(texts):
        complaints.append("ignored what is no SSH key in public_keys")
    return keys


def _random_seed(value: object, complaints: list[str]) -> bytes:
    if value is None:
        return b""
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except (binascii.Error, ValueError):
        complaints.append("ignored random_seed: no base64")
        return b""
