"""Documents that people write (machine profiles, materials, cells): YAML, checked field by field.

A wrong key, type, unit or bound is one sentence with the file, the place in it, what was seen and what is
allowed. Values carry their unit: `max_speed: 200 mm/s`; a bare number is refused where a unit is needed.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from industriverse_core.errors import ErrorCode, InputError, ProfileError
from industriverse_core.files import read_bytes

MAX_DOCUMENT_BYTES = 1 << 20
_UNITS: dict[str, dict[str, float]] = {
    "m": {"m": 1.0, "mm": 1e-3, "um": 1e-6, "cm": 1e-2, "in": 25.4e-3},
    "m/s": {"m/s": 1.0, "mm/s": 1e-3, "mm/min": 1e-3 / 60},
    "m/s^2": {"m/s^2": 1.0, "mm/s^2": 1e-3},
    "m^3/s": {"m^3/s": 1.0, "mm^3/s": 1e-9},
    "s": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0},
    "W": {"W": 1.0, "kW": 1e3, "mW": 1e-3},
    "W/K": {"W/K": 1.0, "mW/K": 1e-3},
    "J/K": {"J/K": 1.0, "kJ/K": 1e3},
    "J/m^3": {"J/m^3": 1.0, "J/mm^3": 1e9, "kJ/cm^3": 1e9},
    "J/kg": {"J/kg": 1.0, "kJ/kg": 1e3, "MJ/kg": 1e6},
    "J/(kg K)": {"J/(kg K)": 1.0, "kJ/(kg K)": 1e3},
    "kg": {"kg": 1.0, "g": 1e-3},
    "N": {"N": 1.0, "kN": 1e3},
    "Hz": {"Hz": 1.0, "kHz": 1e3},
    "kg/m^3": {"kg/m^3": 1.0, "g/cm^3": 1e3},
    "rad/s": {"rad/s": 1.0, "rpm": 0.10471975511965977},
    "degC": {"degC": 1.0},
    "1": {"1": 1.0, "%": 0.01},
}
Model = TypeVar("Model", bound=BaseModel)


def parse_quantity(value: Any, unit: str) -> float:
    """'200 mm/s' as a number of the SI unit `unit`. Raises ValueError with the units that are allowed."""
    allowed = _UNITS[unit]
    if isinstance(value, str):
        number, _, written = value.strip().partition(" ")
        written = written.strip()
        if written in allowed:
            try:
                return float(number) * allowed[written]
            except ValueError:
                pass
        raise ValueError(f"'{value}' is not a number with one of the units {', '.join(allowed)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"needs a number with one of the units {', '.join(allowed)}, got {type(value).__name__}")
    if unit == "1":
        return float(value)
    raise ValueError(f"{value} has no unit; write one of {', '.join(f'{value} {name}' for name in allowed)}")


def _quantity(unit: str) -> Any:
    return BeforeValidator(lambda value: parse_quantity(value, unit))


Metres = Annotated[float, _quantity("m")]
MetresPerSecond = Annotated[float, _quantity("m/s")]
MetresPerSecond2 = Annotated[float, _quantity("m/s^2")]
CubicMetresPerSecond = Annotated[float, _quantity("m^3/s")]
Seconds = Annotated[float, _quantity("s")]
Watts = Annotated[float, _quantity("W")]
WattsPerKelvin = Annotated[float, _quantity("W/K")]
JoulesPerKelvin = Annotated[float, _quantity("J/K")]
JoulesPerCubicMetre = Annotated[float, _quantity("J/m^3")]
JoulesPerKg = Annotated[float, _quantity("J/kg")]
JoulesPerKgKelvin = Annotated[float, _quantity("J/(kg K)")]
Kilograms = Annotated[float, _quantity("kg")]
Newtons = Annotated[float, _quantity("N")]
Hertz = Annotated[float, _quantity("Hz")]
KgPerCubicMetre = Annotated[float, _quantity("kg/m^3")]
RadPerSecond = Annotated[float, _quantity("rad/s")]
Celsius = Annotated[float, _quantity("degC")]
Ratio = Annotated[float, _quantity("1")]
Rate = Annotated[float, Field(ge=0, le=1e9)]  # a price or an emission for each unit of something


class Document(BaseModel):
    """Base of every part of a document: unknown keys are errors, values cannot be changed, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load_document(path: Path, model: type[Model], code: ErrorCode) -> Model:
    """Read and check one YAML document. Raises CoreError with `code` (or the file's own error)."""
    try:
        text = read_bytes(path, MAX_DOCUMENT_BYTES)
    except InputError as error:
        if error.code is not ErrorCode.FILE_EMPTY:
            raise
        raise InputError(error.code, error.message, _what_to_write(model)) from error
    try:
        content = yaml.safe_load(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProfileError(code, f"{path}: not a text file (byte {error.start}).", "Write it as UTF-8 YAML.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise ProfileError(code, f"{path}{place}: not valid YAML ({problem}).", "Mend the line.") from error
    if content is None:
        raise ProfileError(code, f"{path}: has no fields.", _what_to_write(model))
    if not isinstance(content, dict):
        raise ProfileError(code, f"{path}: not a document with named fields.", "See the examples that ship.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ProfileError(code, *_explain(path, error, model)) from error


def _what_to_write(model: type[BaseModel]) -> str:
    """The remedy for an empty document."""
    needed = ", ".join(name for name, item in model.model_fields.items() if item.is_required())
    return f"Write its fields{f' ({needed})' if needed else ''}, or start from a copy of one that ships."


def _explain(path: Path, error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first mistake as (sentence, remedy), and how many more there are."""
    # an unknown key is usually the cause of a missing one: name it first
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"]) or "document"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = sorted(_all_fields(model))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        return f"{path}: {place}: unknown key{more}.", f"Did you mean '{near[0]}'?" if near else "Remove it."
    if first["type"] == "missing":
        return f"{path}: {place}: is missing{more}.", "Add it."
    problem = first["msg"].removeprefix("Value error, ")
    seen = "" if first["type"] == "value_error" else f", got {first['input']!r}"[:80]
    return f"{path}: {place}: {problem}{seen}{more}.", "Mend the value."


def _all_fields(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[str]:
    """Field names of a model and of the models in it, for spelling suggestions."""
    seen = seen if seen is not None else set()
    if model in seen:
        return set()
    seen.add(model)
    names = set(model.model_fields)
    for field in model.model_fields.values():
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                names |= _all_fields(candidate, seen)
    return names


def named_document(name: str, folder: Path, what: str, code: ErrorCode) -> Path:
    """The path of a document given by name (in `folder`) or by path. Raises CoreError listing the names."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    path = folder / f"{name}.yaml"
    if name not in document_names(folder):
        known = document_names(folder)
        near = difflib.get_close_matches(name[:64], known, 1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise ProfileError(
            code, f"unknown {what} '{name[:64]}'.", f"{hint}Known: {', '.join(known)}; or the path of a YAML file."
        )
    return path


def document_names(folder: Path) -> list[str]:
    """Names of the documents that ship in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))
