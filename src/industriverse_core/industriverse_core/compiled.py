"""The one way numeric loops are compiled: without the interpreter lock, and ahead of time where that was done.

Importing numba and what it has cached takes most of a second and 100 MB. A loop that is called from Python runs from
the module that the warm-up has built (ahead.py), which needs neither. What that module does not hold (other kinds of
arguments, a loop that has changed since) numba compiles at the first call and caches beside the source. The results
are the same to the last bit. With NUMBA_DISABLE_JIT set, loops are plain Python: for fuzzing and coverage.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable
from functools import cache, cached_property
from operator import attrgetter
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from industriverse_core import ahead
from industriverse_core.fingerprint import UnknownConstantError, digest_of, fingerprint

P = ParamSpec("P")
R = TypeVar("R")
Machine = Callable[[tuple[Any, ...]], Any]  # machine code; takes a call's arguments as one tuple

COMPILATION = "numba:compile"  # numba's event; loading from the cache is none
SCALARS: dict[type, Hashable] = {bool: bool, np.bool_: bool, np.int64: int, float: float, np.float64: float}
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
ARRAY = attrgetter("dtype", "ndim", "flags.num")
C_ORDER, F_ORDER, ALIGNED_WRITEABLE = 0x0001, 0x0002, 0x0500  # NumPy's flags of an array
OTHER = object()  # kind of what only numba can tell

_interpreted = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
_announce: Callable[[], None] | None = None
_recorded: dict[str, tuple[Loop, tuple[Any, ...]]] | None = None


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ahead of time by the warm-up, else with numba at the first call."""
    return _loop(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Like `compiled`, and copied into each compiled caller: for small functions that run for every word or row."""
    return _loop(function, inline="always")


def compiled_ieee(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for faster loops: a division by zero gives what IEEE 754 says, and calls are inlined."""
    return _loop(function, error_model="numpy", forceinline=True)


def index_type() -> Any:
    """What an index that is never negative is made with in the innermost loops: `Index(at)`.

    Numba tests every signed index for counting from the end; a plain int is what Python is fastest with.
    """
    return int if _interpreted else np.uint64


def announce_compilation(announce: Callable[[], None]) -> None:
    """Call `announce` once, when a loop must be compiled because neither the module nor the cache has it."""
    global _announce
    _announce = announce


def record() -> dict[str, tuple[Loop, tuple[Any, ...]]]:
    """From here on numba runs every loop; what Python calls is noted: by symbol, the loop and a call's arguments."""
    global _recorded
    _recorded = {}
    return _recorded


class Loop:
    """A compiled function. Compiled callers see numba's dispatcher in it, Python calls machine code."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func: Any = function
        self.targetoptions = options  # numba looks here whether a compiled caller gets a copy (inline)
        self._machines: dict[Hashable, Machine] = {}
        self._latest: tuple[Hashable, Machine] = (None, self._by_numba)  # most loops see one kind of arguments only

    def __call__(self, *arguments: Any) -> Any:
        """Run the machine code for these kinds of arguments."""
        kinds = kind_of(arguments)
        known, machine = self._latest
        if known != kinds:
            machine = self._machines.get(kinds) or self._find(arguments)
            self._latest = (kinds, machine)
        return machine(arguments)

    def _find(self, arguments: tuple[Any, ...]) -> Machine:
        kinds = kind_of(arguments)
        symbol = self._symbol(kinds)
        if symbol is not None and _recorded is not None:
            _recorded[symbol] = (self, arguments)
        machine = ahead.function(symbol) if symbol is not None and _recorded is None else None
        self._machines[kinds] = machine or self._by_numba
        return self._machines[kinds]

    def _by_numba(self, arguments: tuple[Any, ...]) -> Any:
        return self.dispatcher(*arguments)

    def _symbol(self, kinds: Hashable) -> str | None:
        """Name in the module: of the loop, all that is compiled into it, and the arguments; None when one is OTHER."""
        try:
            return f"{self.py_func.__name__}_{digest_of((self.fingerprint, _type_of(kinds)))}"
        except UnknownConstantError:
            return None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that is compiled into this loop. Raises UnknownConstantError."""
        return fingerprint(self.py_func, self.targetoptions)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's own object for this loop, to be called.

        Numba's cache knows a function by its name and its file; the name gets what else is compiled in.
        """
        options = {name: value for name, value in self.targetoptions.items() if name != "inline"}
        try:
            self.py_func.__qualname__ = f"{self.py_func.__name__}_{self.fingerprint}"
            known = True
        except UnknownConstantError:
            known = False
        return _numba().njit(cache=known, nogil=True, **options)(self.py_func)

    @property
    def _numba_type_(self) -> Any:  # numba asks for it where a compiled loop calls this one
        return self.dispatcher._numba_type_


def kind_of(value: object) -> Hashable:
    """What machine code depends on of an argument; differs for values that numba gives different types."""
    kind = type(value)
    if isinstance(value, tuple):  # most are arrays: without a call of this function for each, twice as fast
        return (kind, *[ARRAY(each) if type(each) is np.ndarray else kind_of(each) for each in value])
    if kind is int:
        return int if INT64_MIN <= cast(int, value) <= INT64_MAX else OTHER
    return ARRAY(value) if kind is np.ndarray else SCALARS.get(kind, OTHER)


def _type_of(kind: Any) -> Hashable:
    """The kind without what numba's type does not have: who owns an array's memory, and two contiguous orders."""
    if not isinstance(kind, tuple):
        return cast(Hashable, kind)
    if not isinstance(kind[0], np.dtype):
        return tuple(map(_type_of, kind))
    dtype, dimensions, flags = kind
    order = flags & C_ORDER or flags & F_ORDER
    return (dtype, dimensions, order, flags & ALIGNED_WRITEABLE)


def _loop(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    return function if _interpreted else cast("Callable[P, R]", Loop(function, options))


@cache
def _numba() -> Any:
    """Numba, loaded at the first loop that is not in the module, with a listener for its first compilation."""
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
