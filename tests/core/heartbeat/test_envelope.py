"""The envelope against the golden vectors, byte by byte where bytes are fixed."""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.heartbeat.envelope import open_envelope, seal
from amphora_agent.errors import MalformedData

VECTORS: Any = json.loads((Path(__file__).parents[3] / "testbed" / "samples" / "heartbeat-vectors.json").read_text())


def named(vectors: Any) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


@pytest.mark.parametrize("vector", named(VECTORS["vectors"]))
def test_golden_envelopes_open(vector: Any) -> None:
    key, message = vector["key"], vector["message"]
    assert open_envelope(bytes.fromhex(vector["envelope_hex"]), key) == message
    assert open_envelope(bytes.fromhex(vector["legacy_binary_envelope_hex"]), key) == message
    assert open_envelope(bytes.fromhex(vector["alternate_encoding"]["envelope_hex"]), key) == message


@pytest.mark.parametrize("vector", named(VECTORS["vectors"]))
def test_sealing_keeps_the_rules_of_the_vectors(vector: Any) -> None:
    payload = vector["decompressed_payload"].encode()
    assert hashlib.sha256(payload).hexdigest() == vector["decompressed_payload_sha256"]
    envelope = seal(payload, vector["key"])
    compressed, digest = envelope[:-64], envelope[-64:]
    assert zlib.decompress(compressed) == payload
    mac = hmac.new(bytes.fromhex(vector["key_utf8_hex"]), compressed, hashlib.sha256)
    assert digest == mac.hexdigest().encode()
    assert open_envelope(envelope, vector["key"]) == vector["message"]


@pytest.mark.parametrize("vector", named(VECTORS["must_reject"]))
def test_what_the_controller_rejects_does_not_open(vector: Any) -> None:
    with pytest.raises(MalformedData):
        open_envelope(bytes.fromhex(vector["envelope_hex"]), vector["key"])


def test_another_key_does_not_open() -> None:
    with pytest.raises(MalformedData, match="envelope"):
        open_envelope(seal(b"{}", "key"), "Key")


@given(st.binary(max_size=400), st.text(max_size=20))
def test_strangers_are_refused_and_nothing_else_happens(data: bytes, key: str) -> None:
    with pytest.raises(MalformedData):
        open_envelope(data, key)


@given(st.binary(max_size=60), st.booleans())
def test_a_right_digest_over_garbage_is_refused(data: bytes, is_compressed: bool) -> None:  # noqa: FBT001
    compressed = zlib.compress(b"\x00" + data) if is_compressed else b"\x00" + data
    digest = hmac.new(b"key", compressed, hashlib.sha256).hexdigest().encode()
    with pytest.raises(MalformedData):
        open_envelope(compressed + digest, "key")


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.text())
def test_what_is_sealed_opens(message: dict[str, int | str], key: str) -> None:
    assert open_envelope(seal(json.dumps(message).encode(), key), key) == message
