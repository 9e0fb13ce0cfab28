"""Bytes made hostile: what was well formed, damaged in the ways that have broken parsers before."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# What is a digit, a blank or the end of a line to some parsers and not to others; quotes, brackets, signs.
_ODD_LETTERS = "²٣１\u0085\u2028\u00a0\ufeffé\U0001f600\0\x0b\x0c\r\n\t \"'\\#$%&;:=,|!{}[]()<>*?-+./@~`^"
_ODD_WORDS = (
    *(b"-1", b"0", b"1" * 20, b"9" * 5000, b"1e999", b"NaN", b"Infinity", b"0x10", b"00", b"..", b"../../etc/passwd"),
    *(
        b"\xff\xfe",
        b"\xc3",
        b"\xed\xa0\x80",
        b"[" * 200,
        b"{" * 200,
        b'{"a":' * 200,
        b"\n\n\n",
        b"\r\n",
        b"${a}",
        b"$$",
    ),
    *(b"::1", b"0.0.0.0", b"255.255.255.255", b"[::]:80", b"fe80::1%eth0", b"1.2.3.4/33", b"null", b"true", b"1.5"),
)


def _flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.randrange(256)


def _cut(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 4, 40, len(data)))]


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    data[start:start] = data[start : start + dice.choice((1, 8, 80))] * dice.choice((1, 2, 50))


def _move(data: bytearray, dice: random.Random) -> None:
    start, size = dice.randrange(len(data)), dice.choice((2, 16, 160))
    part = data[start : start + size]
    del data[start : start + size]
    place = dice.randint(0, len(data))
    data[place:place] = part


def _insert_letter(data: bytearray, dice: random.Random) -> None:
    place = dice.randint(0, len(data))
    data[place:place] = dice.choice(_ODD_LETTERS).encode()


def _insert_word(data: bytearray, dice: random.Random) -> None:
    place = dice.randint(0, len(data))
    data[place:place] = dice.choice(_ODD_WORDS)


def _replace_number(data: bytearray, dice: random.Random) -> None:
    """Put something odd in the place of a run of digits, where a parser is sure to look."""
    start = dice.randrange(len(data))
    while start < len(data) and not 48 <= data[start] <= 57:
        start += 1
    end = start
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    data[start:end] = dice.choice((*_ODD_WORDS, *(letter.encode() for letter in _ODD_LETTERS)))


_DAMAGES: Sequence[Callable[[bytearray, random.Random], None]] = (
    *(_flip, _cut, _repeat, _move, _insert_letter, _insert_word, _replace_number),
)


def mutated(seed: bytes, dice: random.Random, *, most: int = 4096) -> bytes:
    """Return a damaged copy of at most `most` bytes; a larger seed is cut to a piece of it first."""
    start = dice.randrange(len(seed)) if len(seed) > most and dice.random() < 0.5 else 0
    data = bytearray(seed[start : start + most])
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        if data:
            dice.choice(_DAMAGES)(data, dice)
    return bytes(data[:most])
