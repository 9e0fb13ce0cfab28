"""Operations reach the disk through `host/files.py` alone, where what the disk refuses becomes a failure with words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import amphora_agent.operations

ROOT = Path(amphora_agent.operations.__file__ or "").parent
METHODS_OF_PATHS = {
    *("exists", "is_file", "is_dir", "is_mount", "is_symlink", "stat", "lstat", "glob", "rglob", "iterdir", "samefile"),
    *("open", "read_bytes", "read_text", "write_bytes", "write_text", "touch", "mkdir", "unlink", "rmdir", "chmod"),
    *("rename", "symlink_to", "readlink", "resolve"),
}
# These have doors of their own behind such names.
DOORS = {"files", "netns", "nics", "kernel", "lvs", "lvs_listeners", "instance", "store"}
# What runs before the agent, and says an OSError by itself; and the documents of API 2.0.
EXCEPTIONS = ("config_drive.py", "document/")


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, method = ast.unparse(node.func.value), node.func.attr
            if method in METHODS_OF_PATHS and owner not in DOORS:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {owner}.{method}"


@pytest.mark.hardening("C13")
def test_no_operation_asks_the_disk_by_itself() -> None:
    modules = [path for path in ROOT.rglob("*.py") if not str(path.relative_to(ROOT)).startswith(EXCEPTIONS)]
    assert [call for path in modules for call in calls(path)] == []
