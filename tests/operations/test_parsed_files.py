"""Files that are read once for as long as they are the same."""

from __future__ import annotations

from pathlib import Path

from amphora_agent.host import files
from amphora_agent.operations.parsed_files import ParsedFiles


def test_a_file_is_read_again_when_it_is_another(tmp_path: Path) -> None:
    parsed, path, looks = ParsedFiles(), tmp_path / "file", []

    def decode(data: bytes | None) -> str:
        looks.append(data)
        return "" if data is None else data.decode()

    assert parsed.read(path, decode) == ""
    files.write_atomic(path, b"one")
    assert [parsed.read(path, decode) for _ in range(3)] == ["one"] * 3
    files.write_atomic(path, b"two")
    assert parsed.read(path, decode) == "two"
    parsed.forget(path)
    assert parsed.read(path, decode) == "two"
    path.unlink()
    assert parsed.read(path, decode) == ""
    assert looks == [None, b"one", b"two", b"two", None]


def test_what_is_asked_for_least_is_read_again(tmp_path: Path) -> None:
    parsed, looks = ParsedFiles(), []
    paths = [tmp_path / str(number) for number in range(9)]
    for path in paths:
        path.write_text(path.name)

    def decode(data: bytes | None) -> bytes | None:
        looks.append(data)
        return data

    for path in (*paths[:8], paths[0], paths[8], paths[0], paths[1]):
        assert parsed.read(path, decode) == path.name.encode()
    assert looks[8:] == [b"8", b"1"]
