"""Every parser of `core` under damaged input: it ends soon, and raises nothing but what it documents."""

from __future__ import annotations

import time

import pytest

from tests.hostile.amount import amount, dice
from tests.hostile.mutation import mutated
from tests.hostile.parsers import PARSERS, Parser

INPUTS = amount(3_000, 100_000)
# CPU seconds for one input of at most 4 KiB; a hundred times what the slowest takes, so that load does not matter.
BOUND = 2.0


@pytest.mark.hardening("E")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_damaged_input_meets_only_the_documented_errors(parser: Parser) -> None:
    numbers = dice(parser.name)
    taken = 0
    for _ in range(INPUTS):
        data = mutated(numbers.choice(parser.seeds), numbers)
        began = time.process_time()
        try:
            parser.call(data)
            taken += 1
        except parser.errors:
            pass
        except Exception as error:
            raise AssertionError(f"{parser.name} raises {error!r} for {data!r}") from error
        assert time.process_time() - began < BOUND, f"{parser.name} takes too long for {data!r}"
    for seed in parser.seeds:
        parser.call(seed)
    assert taken, "none of the damaged inputs was taken: the damage hides the parser"
