"""Bytes to words: numbers, comments, checksums and single lines. It knows letters, no codes.

A text is a uint8 array that ends with a line feed, so that no loop here needs to test for its end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from industriverse_core.compiled import compiled, index_type, inlined

Array = np.ndarray[Any, Any]
Index = index_type()

# status of a line: why the rest of it could not be read
OK, BAD_NUMBER, TOO_LARGE, BAD_CHARACTER, UNCLOSED_COMMENT, BAD_CHECKSUM, EXPRESSION, EXPONENT = range(8)
# flags of a line
CHECKSUM, PERCENT, BLOCK_DELETE = 1, 2, 4

LARGEST_NUMBER = 1e12  # in the file's unit: beyond every machine, far below overflow
LINE_FEED = 10
MAX_LINE_BYTES = 1 << 20  # slicers write some settings as one comment of many thousand bytes
_MANTISSA_LIMIT = 10**17  # one more digit still fits into 64 bits
_MANTISSA_DIGITS = 17
_POWERS = np.array([10.0**exponent for exponent in range(23)])  # exact in binary64


@inlined
def number(data: Array, at: int) -> tuple[float, int, int]:
    """The decimal number at data[at] as (value, position behind it, status); NaN when the status is not OK."""
    first = at
    negative = data[Index(at)] == 45
    if negative or data[Index(at)] == 43:
        at += 1
    start = at
    mantissa = 0
    digit = int(data[Index(at)]) - 48
    while 0 <= digit <= 9:
        mantissa = mantissa * 10 + digit
        at += 1
        digit = int(data[Index(at)]) - 48
    digits = at - start
    decimals = 0
    if digit == -2:  # the point
        start = at + 1
        at = start
        digit = int(data[Index(at)]) - 48
        while 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            at += 1
            digit = int(data[Index(at)]) - 48
        decimals = at - start
        digits += decimals
    if not 0 < digits <= _MANTISSA_DIGITS:
        return _long_number(data, first)
    value = mantissa / _POWERS[Index(decimals)]
    if value > LARGEST_NUMBER:
        return np.nan, at, TOO_LARGE
    return (-value if negative else value), at, OK


@compiled
def _long_number(data: Array, at: int) -> tuple[float, int, int]:
    """`number` for any count of digits: those that do not fit into the mantissa only count for the exponent."""
    negative = data[at] == 45
    if data[at] == 45 or data[at] == 43:
        at += 1
    mantissa = 0
    digits = 0
    exponent = 0
    point = False
    while True:
        byte = int(data[at])
        if 48 <= byte <= 57:
            digits += 1
            if mantissa < _MANTISSA_LIMIT:
                mantissa = mantissa * 10 + (byte - 48)
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
    if exponent > 0:  # the mantissa alone is beyond the limit; a higher power could overflow
        return np.nan, at, TOO_LARGE
    exact = -22 <= exponent <= 0  # the power of ten is exact, so the quotient is correctly rounded
    value = mantissa / _POWERS[-exponent] if exact else mantissa * 10.0**exponent
    if not value <= LARGEST_NUMBER:
        return np.nan, at, TOO_LARGE
    return (-value if negative else value), at, OK


@compiled
def line_end(data: Array, at: int) -> int:
    """Position of the line feed that ends the line at data[at]."""
    while data[Index(at)] != LINE_FEED:
        at += 1
    return at


@compiled
def checksum(data: Array, start: int, star: int) -> int:
    """Status of a line from data[start] whose checksum begins at data[star]: the XOR of all bytes before the star."""
    total = 0
    for index in range(start, star):
        total ^= int(data[index])
    stated = 0
    digits = 0
    at = star + 1
    while 48 <= data[at] <= 57 and digits < 4:
        stated = stated * 10 + (int(data[at]) - 48)
        digits += 1
        at += 1
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    if digits == 0 or stated != total or (data[at] != LINE_FEED and data[at] != 59):
        return BAD_CHECKSUM
    return OK


@compiled
def line_words(data: Array, start: int, letters: Array, values: Array) -> tuple[int, int, int]:
    """The words of the line at data[start]: upper-case letters and numbers (NaN = a letter without a number).

    The arrays need room for as many words as the line has bytes. Returns (number of words, status, flags).
    """
    word = 0
    flags = 0
    at = start
    while data[at] != LINE_FEED:
        byte = data[at]
        if byte == 32 or 9 <= byte <= 13:
            at += 1
        elif byte == 59:  # ;
            break
        elif byte == 40:  # ( comment )
            while data[at] != 41 and data[at] != LINE_FEED:
                at += 1
            if data[at] == LINE_FEED:
                return word, UNCLOSED_COMMENT, flags
            at += 1
        elif byte == 42:  # *
            return word, checksum(data, start, at), flags | CHECKSUM
        elif byte == 37 and word == 0:  # %
            flags |= PERCENT
            at += 1
        elif byte == 47 and word == 0:  # /
            flags |= BLOCK_DELETE
            at += 1
        elif byte == 35 or byte == 91:  # # [
            return word, EXPRESSION, flags
        elif not 65 <= (byte & 0xDF) <= 90 or byte >= 128:
            return word, BAD_CHARACTER, flags
        else:
            letters[word] = byte & 0xDF
            values[word] = np.nan
            word += 1
            at, status = _word_number(data, at, values, word - 1)
            if status != OK:
                return word, status, flags
    return word, OK, flags


@compiled
def _word_number(data: Array, letter: int, values: Array, word: int) -> tuple[int, int]:
    """Read the number behind the letter at data[letter] into values[word], if there is one; (position, status)."""
    at = letter + 1
    while data[at] == 32 or data[at] == 9:
        at += 1
    status = OK
    if 48 <= data[at] <= 57 or data[at] == 46 or data[at] == 45 or data[at] == 43:
        values[word], at, status = number(data, at)
        if status == OK and is_exponent(data, letter, at):
            values[word] = np.nan
            status = EXPONENT
    return at, status


@compiled
def is_exponent(data: Array, letter: int, at: int) -> bool:
    """Whether the number from data[letter] goes on at data[at] as 1e5 or 1E+5 does, and not as a word E.

    G-code has no exponents, and X1E5 is X1 with E5. But no writer changes from upper to lower case within a
    line, or gives a filament word a plus.
    """
    if data[at] != 101 and data[at] != 69:
        return False
    after = data[at + 1]
    changes_case = data[at] == 101 and data[letter] < 97
    return bool(after == 43 or (changes_case and (after == 45 or 48 <= after <= 57)))
