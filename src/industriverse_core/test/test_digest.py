"""Canonical forms and content addresses."""

import dataclasses
import math
from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.digest import NO_DIGEST, canonical_json, digest_columns, digest_of, short


class Colour(IntEnum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


def test_canonical_json():
    value = {"b": Point(1.5, ("ü",)), "a": [Colour.RED, b"\x01\xff", np.float64(2.0), np.int32(3), None, True]}
    assert canonical_json(value) == b'{"a":["RED","01ff",2.0,3,null,true],"b":{"tags":["\\u00fc"],"x":1.5}}'


def test_keys_may_be_enums_and_bytes():
    assert canonical_json({Colour.RED: 1}) == b'{"RED":1}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_null(value):
    assert canonical_json([value]) == b"[null]"


def test_there_is_one_zero():
    assert digest_of(-0.0) == digest_of(0.0)


@given(st.dictionaries(st.text(), st.integers()))
def test_order_of_keys_does_not_count(value):
    assert digest_of(value) == digest_of(dict(reversed(value.items())))
    assert len(digest_of(value)) == len(NO_DIGEST) == 32


def test_a_different_value_has_a_different_digest():
    assert digest_of(Point(1.0)) != digest_of(Point(1.0 + 1e-15))


def test_columns_are_separated_by_their_lengths():
    one = np.array([1, 2], "u1"), np.array([3], "u1")
    two = np.array([1], "u1"), np.array([2, 3], "u1")
    first = digest_columns(b"T", {}, {"a": one[0], "b": one[1]})
    assert first != digest_columns(b"T", {}, {"a": two[0], "b": two[1]})
    assert first == digest_columns(b"T", {}, {"b": one[1], "a": one[0]})
    assert first != digest_columns(b"U", {}, {"a": one[0], "b": one[1]})
    assert first != digest_columns(b"T", {"x": 1}, {"a": one[0], "b": one[1]})


def test_byte_order_of_the_machine_does_not_count():
    column = np.array([1.5, -2.0])
    assert digest_columns(b"T", {}, {"a": column.astype(">f8")}) == digest_columns(
        b"T", {}, {"a": column.astype("<f8")}
    )


def test_strided_columns_count_by_their_values():
    column = np.arange(10.0)
    assert digest_columns(b"T", {}, {"a": column[::2]}) == digest_columns(b"T", {}, {"a": column[::2].copy()})


def test_short_form():
    assert short(bytes(range(32))) == "000102030405"
