"""A digest of all that numba makes constants of when it compiles a function: its code and the globals that it reads.

Compiled code is current exactly when this digest is the same: a changed line, callee or constant changes it, also in
another file; a changed comment does not.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, ModuleType
from typing import Any

import numpy as np

DIGEST_LENGTH = 24  # hexadecimal digits
LIBRARIES = (np, math)  # numba has its own code for what they hold


class UnknownConstantError(Exception):
    """Something is read whose influence on compiled code is not known."""


def fingerprint(function: Callable[..., Any], options: dict[str, Any]) -> str:
    """Digest of a function compiled with numba's `options`. Raises UnknownConstantError, RecursionError."""
    code: CodeType = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = _names(code)
    scope = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
    parts = (code, function.__defaults__, tuple(cells), *scope.items(), *options.items())
    return _digest(_text(parts, names))


def digest_of(value: object) -> str:
    """Digest of a constant or a tuple of constants. Raises UnknownConstantError."""
    return _digest(_text(value, frozenset()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _names(code: CodeType) -> frozenset[str]:
    """Names of globals and attributes that code reads, with those of functions inside."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(code.co_names).union(*map(_names, inner))


def _text(value: Any, names: frozenset[str]) -> str:
    """The value as text; of a module or an enumeration only what `names` can mean."""
    kind = type(value)
    if isinstance(getattr(value, "fingerprint", None), str):
        return f"loop {value.fingerprint}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype):
        return f"{kind.__qualname__} {value!r}"
    if isinstance(value, tuple):
        return f"{_text(kind, names)}({','.join(_text(each, names) for each in value)})"
    if isinstance(value, frozenset):
        return f"frozenset({','.join(sorted(_text(each, names) for each in value))})"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype.descr} {value.shape} {value.strides} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, CodeType):
        names_in_order = (value.co_names, value.co_varnames, value.co_cellvars, value.co_freevars)
        shape = (value.co_code, value.co_exceptiontable, value.co_argcount, value.co_flags, names_in_order)
        return f"code {shape} {_text(value.co_consts, names)}"
    if isinstance(value, enum.EnumType):
        return f"enumeration {[(name, value[name].value) for name in value.__members__]}"
    if isinstance(value, type) and (value.__module__ in ("builtins", "numpy") or issubclass(value, tuple)):
        return f"type {value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}"
    if isinstance(value, BuiltinFunctionType | np.ufunc) or value in LIBRARIES:
        return f"{kind.__qualname__} {value.__name__}"
    if isinstance(value, ModuleType):
        return f"module {[(name, _text(vars(value)[name], names)) for name in sorted(names) if name in vars(value)]}"
    raise UnknownConstantError(kind.__qualname__)
