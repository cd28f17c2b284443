"""Machine code of numeric loops in one extension module, built by the warm-up and loaded without numba.

The module lies in `__pycache__` beside this file, or in the folder that INDUSTRIVERSE_LOOPS names. Its name holds the
versions of numba and Python and the processor; a digest behind its end says that it is whole. Whatever is wrong with
it, there is none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

NAME = "industriverse_loops"
DIGEST_BYTES = 32
ANY = "any"


def module_file() -> Path:
    """Where the module lies, or would."""
    folder = os.environ.get("INDUSTRIVERSE_LOOPS") or Path(__file__).with_name("__pycache__")
    return Path(folder) / f"{NAME}.numba-{version('numba')}.{_processor()}{EXTENSION_SUFFIXES[0]}"


def _processor() -> str:
    """Digest of this processor's model and features; ANY where they are not known, which the code then is for."""
    try:
        with open("/proc/cpuinfo") as file:
            first = list(takewhile(str.strip, file))
    except OSError:
        return ANY
    features = "".join(line for line in first if line.startswith(("model", "flags", "CPU", "Features")))
    return hashlib.sha256(features.encode()).hexdigest()[:16] if features else ANY


def function(symbol: str) -> Callable[[tuple[Any, ...]], Any] | None:
    """Machine code of this name, which takes a call's arguments as one tuple; None when there is none.

    It does not check the arguments: they must be of the kinds that the name stands for.
    """
    return getattr(_module(), symbol, None)


@cache
def _module() -> Any:
    try:
        file = module_file()
        content = file.read_bytes()
        if hashlib.sha256(content[:-DIGEST_BYTES]).digest() != content[-DIGEST_BYTES:]:
            return None  # not written to its end: loading it could end the process
        loader = ExtensionFileLoader(NAME, str(file))
        module = loader.create_module(ModuleSpec(NAME, loader, origin=str(file)))
        loader.exec_module(module)
    except (OSError, ImportError):
        return None
    return module


class BuildError(Exception):
    """What the module needs to be built is not there."""


def build(loops: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> Path:
    """Compile loops into the module; two processes may do so at once.

    loops: by symbol, numba's dispatcher and the types of the arguments. Raises BuildError without a C compiler,
    Python's headers, numba's pycc or a folder that can be written.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycc announces a successor that is not there yet
            module = import_module("numba.pycc").CC(NAME)
            errors = import_module("setuptools.errors")
            module.target_cpu = "" if _processor() == ANY else "host"
    except (ImportError, RuntimeError) as error:
        raise BuildError(str(error)) from error
    tuple_type = import_module("numba.types").Tuple
    for symbol, (dispatcher, argument_types) in loops.items():
        module.export(symbol, (tuple_type(argument_types),))(_of_tuple(dispatcher))
    try:
        return _write(module)
    except (OSError, errors.CompileError, errors.LinkError) as error:
        raise BuildError(str(error)) from error


def _write(module: Any) -> Path:
    """Compile beside the module's place and move it there, whole."""
    file = module_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=NAME, dir=file.parent) as folder, _without_interpreter_lock():
        module.output_dir = folder
        module.compile()
        built = Path(folder) / module.output_file
        content = built.read_bytes()
        built.write_bytes(content + hashlib.sha256(content).digest())
        built.replace(file)
    return file


def _of_tuple(dispatcher: Any) -> Callable[[tuple[Any, ...]], Any]:
    def call(arguments: tuple[Any, ...]) -> Any:
        return dispatcher(*arguments)

    return call


@contextmanager
def _without_interpreter_lock() -> Iterator[None]:
    """What pycc exports releases the interpreter lock while it runs; pycc has no option for it."""
    compiler: Any = import_module("numba.pycc.compiler")
    make = compiler.Flags

    def flags() -> Any:
        made = make()
        made.release_gil = True
        return made

    compiler.Flags = flags
    try:
        yield
    finally:
        compiler.Flags = make
