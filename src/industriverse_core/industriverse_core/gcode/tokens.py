"""Bytes to words: a compiled tokeniser for G-code lines. It knows letters, numbers and comments, no codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from industriverse_core.compiled import compiled

Array = np.ndarray[Any, Any]

# status of a line: why the rest of it could not be read
OK, BAD_NUMBER, TOO_LARGE, BAD_CHARACTER, UNCLOSED_COMMENT, BAD_CHECKSUM, EXPRESSION = range(7)
# flags of a line
CHECKSUM, PERCENT, BLOCK_DELETE = 1, 2, 4

LARGEST_NUMBER = 1e12  # in the file's unit: beyond every machine, far below overflow
_MANTISSA_LIMIT = 10**17  # one more digit still fits into 64 bits
_POWERS = np.array([10.0**exponent for exponent in range(23)])  # exact in binary64


@dataclass(frozen=True, slots=True)
class Tokens:
    """Words of consecutive lines.

    Attributes:
        letters: upper-case letters of all words, shape (words,), uint8.
        values: their numbers; NaN = a letter without a number.
        first_word: index of each line's first word, shape (lines + 1,).
        line_start: byte offset of each line, shape (lines + 1,).
        status: OK or the reason why the rest of the line was not read, shape (lines,).
        flags: CHECKSUM, PERCENT, BLOCK_DELETE, shape (lines,).
    """

    letters: Array
    values: Array
    first_word: Array
    line_start: Array
    status: Array
    flags: Array

    def __len__(self) -> int:
        return len(self.status)


def tokenise(data: Array, start: int, stop: int) -> Tokens:
    """Words of data[start:stop] (uint8), which must begin at the start of a line."""
    lines, letters = _count(data, start, stop)
    tokens = Tokens(
        letters=np.empty(letters, np.uint8),
        values=np.empty(letters, np.float64),
        first_word=np.zeros(lines + 1, np.int64),
        line_start=np.empty(lines + 1, np.int64),
        status=np.zeros(lines, np.uint8),
        flags=np.zeros(lines, np.uint8),
    )
    _fill(
        data,
        start,
        stop,
        tokens.letters,
        tokens.values,
        tokens.first_word,
        tokens.line_start,
        tokens.status,
        tokens.flags,
    )
    return tokens


@compiled
def count_bytes(data: Array) -> Array:
    """How often each byte value occurs, shape (256,)."""
    counts = np.zeros(256, np.int64)
    for byte in data:
        counts[byte] += 1
    return counts


@compiled
def _count(data: Array, start: int, stop: int) -> tuple[int, int]:
    """Number of lines, and an upper bound for the number of words."""
    lines = 0
    letters = 0
    for index in range(start, stop):
        byte = data[index]
        if byte == 10:
            lines += 1
        elif 65 <= (byte & 0xDF) <= 90:
            letters += 1
    if stop > start and data[stop - 1] != 10:
        lines += 1
    return lines, letters


@compiled
def _number(data: Array, at: int, stop: int) -> tuple[float, int, int]:
    """The decimal number at data[at:stop] as (value, position behind it, status)."""
    negative = data[at] == 45
    if data[at] == 45 or data[at] == 43:
        at += 1
    mantissa = 0
    digits = 0
    exponent = 0
    point = False
    while at < stop:
        byte = data[at]
        if 48 <= byte <= 57:
            digits += 1
            if mantissa < _MANTISSA_LIMIT:
                mantissa = mantissa * 10 + (int(byte) - 48)
                if point:
                    exponent -= 1
            elif not point:
                exponent += 1
        elif byte == 46 and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0:
        return np.nan, at, BAD_NUMBER
    exact = -22 <= exponent <= 0  # the power of ten is exact, so the quotient is correctly rounded
    value = mantissa / _POWERS[-exponent] if exact else mantissa * 10.0**exponent
    if not value <= LARGEST_NUMBER:
        return np.nan, at, TOO_LARGE
    return (-value if negative else value), at, OK


@compiled
def _checksum(data: Array, start: int, star: int, end: int) -> int:
    """Status of a line whose checksum begins at data[star]: the XOR of all bytes before the star."""
    total = 0
    for index in range(start, star):
        total ^= int(data[index])
    stated = 0
    digits = 0
    at = star + 1
    while at < end and 48 <= data[at] <= 57 and digits < 4:
        stated = stated * 10 + (int(data[at]) - 48)
        digits += 1
        at += 1
    while at < end and (data[at] == 32 or data[at] == 9 or data[at] == 13):
        at += 1
    if digits == 0 or stated != total or (at < end and data[at] != 59):
        return BAD_CHECKSUM
    return OK


@compiled
def _line(data: Array, start: int, end: int, letters: Array, values: Array, word: int) -> tuple[int, int, int]:
    """Append the words of one line; returns (next word, status, flags)."""
    first = word
    flags = 0
    at = start
    while at < end:
        byte = data[at]
        if byte == 32 or 9 <= byte <= 13:
            at += 1
        elif byte == 59:  # ;
            break
        elif byte == 40:  # ( comment )
            while at < end and data[at] != 41:
                at += 1
            if at == end:
                return word, UNCLOSED_COMMENT, flags
            at += 1
        elif byte == 42:  # *
            return word, _checksum(data, start, at, end), flags | CHECKSUM
        elif byte == 37 and word == first:  # %
            flags |= PERCENT
            at += 1
        elif byte == 47 and word == first:  # /
            flags |= BLOCK_DELETE
            at += 1
        elif byte == 35 or byte == 91:  # # [
            return word, EXPRESSION, flags
        elif not 65 <= (byte & 0xDF) <= 90 or byte >= 128:
            return word, BAD_CHARACTER, flags
        else:
            letters[word] = byte & 0xDF
            values[word] = np.nan
            at += 1
            while at < end and (data[at] == 32 or data[at] == 9):
                at += 1
            word += 1
            if at < end and (48 <= data[at] <= 57 or data[at] == 46 or data[at] == 45 or data[at] == 43):
                values[word - 1], at, status = _number(data, at, end)
                if status != OK:
                    return word, status, flags
    return word, OK, flags


@compiled
def _fill(
    data: Array,
    start: int,
    stop: int,
    letters: Array,
    values: Array,
    first_word: Array,
    line_start: Array,
    status: Array,
    flags: Array,
) -> None:
    """Tokenise line by line into the arrays of Tokens."""
    line = 0
    word = 0
    at = start
    while at < stop:
        end = at
        while end < stop and data[end] != 10:
            end += 1
        line_start[line] = at
        word, status[line], flags[line] = _line(data, at, end, letters, values, word)
        line += 1
        first_word[line] = word
        at = end + 1
    line_start[line] = stop
