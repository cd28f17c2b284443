"""The one way numeric loops are compiled: cached on disk, without the interpreter lock.

Numba takes most of a second to load. A process that handles one small file may instead run the loops as plain
Python (`interpret`), which is then faster. Results are the same but for the last digits of long sums.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

COMPILATION = "numba:compile"  # numba's event; loading from the cache is none
_interpreted = False
_announce: Callable[[], None] | None = None


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba at first call; the machine code is cached beside the module."""
    return _compile(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Like `compiled`, and copied into each compiled caller: for small functions that run for every word or row."""
    return _compile(function, inline="always")


def compiled_ieee(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for faster loops: a division by zero gives what IEEE 754 says, and calls are inlined."""
    return _compile(function, error_model="numpy", forceinline=True)


def index_type() -> Any:
    """What an index that is never negative is made with in the innermost loops: `Index(at)`.

    Numba tests every signed index for counting from the end; a plain int is what Python is fastest with.
    """
    return int if _interpreted else np.uint64


def interpret() -> bool:
    """From here on in this process, loops are plain Python. False and no effect when numba has been loaded.

    To be called before any module with loops is imported: a compiled loop cannot call an interpreted one.
    """
    global _interpreted
    _interpreted = "numba" not in sys.modules
    if _interpreted:
        np.seterr(all="ignore")  # compiled loops do not warn of infinities either
    return _interpreted


def announce_compilation(announce: Callable[[], None]) -> None:
    """Call `announce` once, when a loop must be compiled because the cache does not have it."""
    global _announce
    _announce = announce


def _compile(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    if _interpreted:
        return function
    return cast("Callable[P, R]", _numba().njit(cache=True, nogil=True, **options)(function))


@cache
def _numba() -> Any:
    """Numba, loaded at the first loop, with a listener for its first compilation."""
    import numba
    from numba.core import event

    class FirstCompilation(event.Listener):
        def on_start(self, _: object) -> None:
            global _announce
            if _announce is not None:
                announce, _announce = _announce, None
                announce()

        def on_end(self, _: object) -> None:
            return

    register: Any = event.register  # numba is not typed
    register(COMPILATION, FirstCompilation())
    return numba
