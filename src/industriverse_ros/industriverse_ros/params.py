"""ROS parameters declared from a frozen dataclass: type, unit, bounds, description. All are read-only.

    @dataclass(frozen=True, slots=True)
    class ShieldParams:
        machine: str = param("prusa_mk3s", "machine profile, by name or YAML path")
        source_limit_s: float = param(0.5, "oldest source message that is accepted", unit="s", low=0.05, high=5.0)

An unknown, mistyped or out-of-range override is an error at start.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from industriverse_core.errors import ErrorCode, ProfileError

Params = TypeVar("Params")
_TYPES = {"float": float, "int": int, "str": str, "bool": bool}
BUILT_IN = ("use_sim_time", "start_type_description_service")


def param(default: Any, description: str, *, unit: str = "", low: Any = None, high: Any = None) -> Any:
    """A dataclass field that is a parameter. `low` and `high` are inclusive bounds of numbers."""
    return field(default=default, metadata={"description": description, "unit": unit, "low": low, "high": high})


def declare(node: Node, kind: type[Params]) -> Params:
    """Declare every field of `kind` on the node and return the values.

    Raises ProfileError (BAD_PARAMETER) for an override that is unknown, of the wrong type or out of range.
    """
    overrides = node._parameter_overrides  # noqa: SLF001 - rclpy has no public way to list overrides
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    for name in overrides:
        if name not in known and name not in BUILT_IN and not name.startswith("qos_overrides."):
            raise _wrong(node, name, "is not a parameter of this node", f"Known: {', '.join(sorted(known))}.")
    values = {}
    for item in fields(kind):  # type: ignore[arg-type]
        wanted = _TYPES[item.type if isinstance(item.type, str) else item.type.__name__]
        value = overrides[item.name].value if item.name in overrides else item.default
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise _wrong(node, item.name, f"is {value!r}", f"It must be of type {wanted.__name__}.")
        low, high = item.metadata["low"], item.metadata["high"]
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise _wrong(node, item.name, f"is {value}", f"Allowed: {low} to {high} {item.metadata['unit']}.")
        overrides[item.name] = Parameter(item.name, value=value)
        node.declare_parameter(item.name, value, _descriptor(item.metadata, wanted))
        values[item.name] = value
    return kind(**values)


def _descriptor(metadata: Any, wanted: type) -> ParameterDescriptor:
    unit = f" [{metadata['unit']}]" if metadata["unit"] else ""
    descriptor = ParameterDescriptor(description=metadata["description"] + unit, read_only=True)
    low, high = metadata["low"], metadata["high"]
    if low is not None and high is not None:
        if wanted is float:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        elif wanted is int:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return descriptor


def _wrong(node: Node, name: str, seen: str, remedy: str) -> ProfileError:
    return ProfileError(ErrorCode.BAD_PARAMETER, f"{node.get_name()}: parameter '{name}' {seen}.", remedy)
