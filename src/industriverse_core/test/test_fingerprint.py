"""The digest of what is compiled into a function: it changes with all that matters, and with nothing else."""

import enum
import math
from collections import namedtuple
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from industriverse_core.compiled import Loop
from industriverse_core.fingerprint import UnknownConstantError, digest_of, fingerprint

SOURCE = "def loop(value):\n    return value * FACTOR + settings.SHIFT + callee(value) + table[0]\n"


def module_of(**constants):
    module = ModuleType("settings")
    vars(module).update(constants)
    return module


def digest(source=SOURCE, options=None, callee="def callee(value):\n    return value\n", **scope):
    world = {"FACTOR": 2.0, "settings": module_of(SHIFT=1), "table": np.arange(3.0), "math": math, "np": np} | scope
    exec(callee, world)
    world["callee"] = Loop(world["callee"], {})
    exec(source, world)
    return fingerprint(world["loop"], options or {})


class Colour(enum.IntEnum):
    RED = 1


class OtherColour(enum.IntEnum):
    RED = 2


def test_the_same_function_has_the_same_digest_whatever_its_comments_and_lines():
    assert digest() == digest("\n\n# a comment\n" + SOURCE.replace("\n    ", "\n    # why\n    "))


@pytest.mark.parametrize(
    "change",
    [
        {"source": SOURCE.replace("*", "+")},
        {"source": SOURCE.replace("[0]", "[1]")},
        {"callee": "def callee(value):\n    return -value\n"},
        {"FACTOR": 2},
        {"FACTOR": 2.5},
        {"FACTOR": np.uint64(2)},
        {"FACTOR": (2.0,)},
        {"FACTOR": Colour},
        {"FACTOR": Colour.RED},
        {"settings": module_of(SHIFT=2)},
        {"settings": module_of(SHIFT=module_of(SHIFT=1))},
        {"table": np.arange(3)},
        {"table": np.arange(3.0)[::-1]},
        {"table": np.repeat(np.arange(3.0), 2)[::2]},
        {"options": {"error_model": "numpy"}},
    ],
)
def test_what_is_compiled_in_changes_the_digest(change):
    assert digest(**change) != digest()


def test_what_is_read_inside_a_nested_function_counts():
    source = "def loop(values):\n    return [each * FACTOR for each in values]\n"
    assert digest(source) != digest(source, FACTOR=3.0)


def test_a_constant_that_the_function_does_not_read_does_not_count():
    assert digest() == digest(OTHER=5, settings=module_of(SHIFT=1, OTHER=5))


def test_enumerations_are_told_apart_by_their_values():
    assert digest(FACTOR=Colour) != digest(FACTOR=OtherColour)


def test_named_tuples_are_told_apart_by_their_fields():
    first, second = namedtuple("Row", "x y"), namedtuple("Row", "y x")
    assert digest_of((first, float, float)) != digest_of((second, float, float))


@pytest.mark.parametrize("unknown", [[1], {}, object(), SimpleNamespace(SHIFT=1), lambda: 1, Loop])
def test_a_constant_of_unknown_influence_has_no_digest(unknown):
    with pytest.raises(UnknownConstantError):
        digest(settings=unknown)


def test_closures_count():
    def scaled(factor):
        def loop(value):
            return value * factor

        return fingerprint(loop, {})

    assert scaled(2.0) == scaled(2.0) != scaled(3.0)
