"""The topics that engineers look at: JSON messages with their schemas. No library, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from industriverse_core.digest import NO_DIGEST
from machine_node.doors.model import MachineView

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of message of a machine: its fields with units, and what it says of a view (None = nothing)."""

    name: str
    title: str
    fields: Mapping[str, str]  # name -> "type: description"
    of: Callable[[MachineView], object]  # what has to change for a new message
    content: Callable[[Any], Json]

    def schema(self) -> Json:
        """JSON schema of the message. A number that is not known is null."""
        properties = {}
        for name, text in self.fields.items():
            kind, _, description = text.partition(": ")
            properties[name] = {**_KINDS[kind], "description": description}
        return {"type": "object", "title": self.title, "properties": properties}


_KINDS: Mapping[str, Json] = {
    "number": {"type": ["number", "null"]},
    "integer": {"type": "integer"},
    "text": {"type": "string"},
    "numbers": {"type": "array", "items": {"type": ["number", "null"]}},
    "texts": {"type": "array", "items": {"type": "string"}},
    "vector": {"type": "object", "properties": {axis: {"type": ["number", "null"]} for axis in "xyz"}},
    "heaters": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "heater": {"type": "string"},
                "temperature_c": {"type": ["number", "null"]},
                "target_c": {"type": ["number", "null"]},
                "duty": {"type": ["number", "null"]},
            },
        },
    },
    "channels": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "quantity": {"type": "string"},
                "expected": {"type": ["number", "null"]},
                "measured": {"type": ["number", "null"]},
                "sigma": {"type": ["number", "null"]},
                "z_score": {"type": ["number", "null"]},
            },
        },
    },
}
_STAMP = {"stamp_s": "number: [s] ROS time of the sample"}


def _vector(vector: tuple[float, float, float]) -> Json:
    return dict(zip("xyz", vector, strict=True))


def _telemetry(sample: Any) -> Json:
    plain = (
        "stamp_s", "error_code", "error_msg", "job_id", "instruction", "progress", "fan", "power_w", "energy_j",
        "permit_age_s", "latch_id", "queued_s", "missed_deadlines",
    )  # fmt: skip
    heaters = [
        {
            "heater": each.heater.name.lower(),
            "temperature_c": each.temperature_c,
            "target_c": each.target_c,
            "duty": each.duty,
        }
        for each in sample.heaters
    ]
    return {
        **{name: getattr(sample, name) for name in plain},
        "state": sample.state.name,
        "program_digest": "" if sample.program_digest == NO_DIGEST else sample.program_digest.hex(),
        "position_m": _vector(sample.position_m),
        "reported_position_m": _vector(sample.reported_position_m),
        "heaters": heaters,
    }


def _residual(sample: Any) -> Json:
    channels = [
        {
            "quantity": each.quantity.name.lower(),
            "expected": each.expected,
            "measured": each.measured,
            "sigma": each.sigma,
            "z_score": each.z_score,
        }
        for each in sample.channels
    ]
    return {
        "stamp_s": sample.stamp_s,
        "job_id": sample.job_id,
        "instruction": sample.instruction,
        "lag_s": sample.lag_s,
        "channels": channels,
    }


def _plain(*names: str) -> Callable[[Any], Json]:
    """The fields of these names; states by their names."""

    def content(sample: Any) -> Json:
        values = {name: getattr(sample, name) for name in names}
        return {name: value.name if hasattr(value, "name") else value for name, value in values.items()}

    return content


TOPICS = (
    Topic(
        "telemetry",
        "Telemetry",
        _STAMP
        | {
            "state": "text: what the machine does",
            "position_m": "vector: [m] as commanded, from the acknowledged stream",
            "reported_position_m": "vector: [m] as the controller reported last",
            "heaters": "heaters: [degC], duty 0..1",
            "fan": "number: [1] part-cooling fan, as commanded",
            "power_w": "number: [W] electric power",
            "energy_j": "number: [J] the meter's counter",
            "progress": "number: [1] executed fraction",
            "instruction": "integer: index of the instruction that is executed",
            "queued_s": "number: [s] motion queued in the controller",
            "permit_age_s": "number: [s] since the last permit",
            "latch_id": "integer: 0 = not latched",
            "error_code": "integer: cause of a fault or latch",
            "error_msg": "text: the cause as a sentence",
            "job_id": "text: running job",
            "program_digest": "text: SHA-256 of the running program",
            "missed_deadlines": "integer: late telemetry periods",
        },
        lambda view: view.sample if view.online else None,
        _telemetry,
    ),
    Topic(
        "joint_states",
        "JointStates",
        _STAMP
        | {
            "names": "texts: joints",
            "positions": "numbers: [m or rad]",
            "velocities": "numbers: [m/s or rad/s]; empty = not known",
        },
        lambda view: view.joints,
        _plain("stamp_s", "names", "positions", "velocities"),
    ),
    Topic(
        "power",
        "Power",
        _STAMP
        | {
            "voltage_v": "number: [V]",
            "current_a": "number: [A]",
            "power_w": "number: [W]",
            "energy_j": "number: [J] the meter's counter",
        },
        lambda view: view.power,
        _plain("stamp_s", "voltage_v", "current_a", "power_w", "energy_j"),
    ),
    Topic(
        "residual",
        "Residual",
        _STAMP
        | {
            "channels": "channels: expected against measured, [degC], [m] or [W]",
            "lag_s": "number: [s] from the sample to the comparison",
            "instruction": "integer: index of the instruction",
            "job_id": "text: running job",
        },
        lambda view: view.residual,
        _residual,
    ),
    Topic(
        "safety_state",
        "SafetyState",
        _STAMP
        | {
            "state": "text: what the shield does",
            "level": "integer: of the stop, while latched",
            "latch_id": "integer: 0 = not latched",
            "error_code": "integer: code of the cause",
            "error_msg": "text: the cause",
            "permits_issued": "integer: by this shield",
        },
        lambda view: view.safety,
        _plain("stamp_s", "state", "level", "latch_id", "error_code", "error_msg", "permits_issued"),
    ),
    Topic(
        "execution_trace",
        "ExecutionTrace",
        _STAMP
        | {
            "job_id": "text: job",
            "sent": "integer: instructions handed to the controller",
            "acknowledged": "integer: instructions that it has accepted",
            "executed": "integer: instructions whose motion is finished",
            "total": "integer: instructions of the program",
        },
        lambda view: view.trace,
        _plain("stamp_s", "job_id", "sent", "acknowledged", "executed", "total"),
    ),
    Topic(
        "job",
        "Job",
        {
            "job_id": "text: job",
            "state": "text: how far it is",
            "program_name": "text: name of the program",
            "intent": "text: what was asked for",
            "progress": "number: [1]",
            "error_code": "integer: why it was refused, held or aborted",
            "error_msg": "text: the same as a sentence",
        },
        lambda view: view.job,
        _plain("job_id", "state", "program_name", "intent", "progress", "error_code", "error_msg"),
    ),
)


def finite(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are not finite become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value
