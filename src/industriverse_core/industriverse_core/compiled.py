"""The one way numeric loops are compiled: cached on disk, without the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba at first call; the machine code is cached beside the module."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Like `compiled`, and copied into each compiled caller: for small functions that run for every word or row."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, inline="always")(function))
