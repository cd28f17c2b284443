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


def compiled_ieee(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for faster loops: a division by zero gives what IEEE 754 says, and calls are inlined."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Like `compiled`, and copied into each compiled caller: for small functions that run for every word or row."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, inline="always")(function))
