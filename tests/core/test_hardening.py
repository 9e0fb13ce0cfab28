"""Each item of the issue on hardening has a test that bears its number: `pytest -m hardening` runs them all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
ITEMS = {
    "A",
    *(f"B{number}" for number in range(1, 8)),
    *(f"C{number}" for number in range(7, 16)),
    *(f"D{number}" for number in range(16, 31)),
    "E",
}


def numbers_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.hardening":
                    yield from (ast.literal_eval(argument) for argument in mark.args)


def test_each_item_has_a_test_of_its_number() -> None:
    assert {number for path in TESTS.rglob("test_*.py") for number in numbers_in(path)} == ITEMS
