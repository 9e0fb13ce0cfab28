"""What all records have in common: JSON with a version number, read with suspicion. Knows no record.

A record is a file that outlives the process that wrote it; another process, or the next release, may read it.

Decision: a version number stands in each, and a record of an unknown version is as good as none: "not known" costs a
reload, a wrong belief breaks tenants. The files of the first release have no number and are read as version 1, so that
an upgrade in place loses nothing. A reader stays for as long as a release that wrote its version may be upgraded from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TypeGuard, TypeVar

FIRST_VERSION = 1

RecordT = TypeVar("RecordT")
Reader = Callable[[object], RecordT]


def encode_document(version: int, content: Mapping[str, object]) -> bytes:
    """Return a record's file content."""
    return json.dumps({"version": version, **content}).encode("ascii")


def decode_document(data: bytes | None, readers: Mapping[int, Reader[RecordT]]) -> RecordT | None:
    """Return the record a file holds, None when it holds none that can be understood.

    Args:
        data: content of the file; None when there is no file.
        readers: version -> what makes a record of the document; may raise ValueError, KeyError or TypeError.
    """
    if data is None:
        return None
    try:
        document: object = json.loads(data)
        reader = readers.get(_version(document))
        return None if reader is None else reader(document)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _version(document: object) -> int:
    """Return a document's version; a mapping under that name is content of a file of the first release."""
    version = document.get("version", FIRST_VERSION) if isinstance(document, dict) else FIRST_VERSION
    return FIRST_VERSION if isinstance(version, dict) else integer(version)


def mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, dict):
        raise TypeError
    return value


def text(value: object) -> str:
    """Return a text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError
    return value


def texts(value: object) -> dict[str, str]:
    """Return a JSON object of texts.

    Raises:
        TypeError: it is something else.
    """
    return {key: text(item) for key, item in mapping(value).items()}


def items(value: object) -> list[object]:
    """Return a JSON array.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, list):
        raise TypeError
    return value


def integer(value: object) -> int:
    """Return a whole number; true and false are none.

    Raises:
        TypeError: it is something else.
    """
    if type(value) is not int:
        raise TypeError
    return value


def number(value: object) -> float:
    """Return a finite number.

    Raises:
        TypeError: it is something else.
        OverflowError: it is too large.
    """
    if not is_number(value):
        raise TypeError
    return float(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether this is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
